//! From a catalog's name to the adapter that speaks to it.

use crate::{
    catalog::Catalog,
    consul::{ConsulCatalog, ConsulRegistry},
    error::{CatalogError, Cause, RegistryError},
    etcd::{EtcdCatalog, EtcdRegistry},
    file::FileCatalog,
    nacos::{NacosCatalog, NacosRegistry},
    narrow::Narrowed,
    options::Options,
    registry::Registry,
    srv::SrvCatalog,
    uri::CatalogUri,
};

/// Opens a catalog for reading. Connects to nothing yet, so an error is one of settings, never of the network.
/// [`CatalogUri::Local`] is not a registry: whoever starts the private node knows it already.
pub fn open(uri: &CatalogUri, options: &Options) -> Result<Box<dyn Catalog>, CatalogError> {
    let opened: Result<Box<dyn Catalog>, Cause> = match uri {
        CatalogUri::Consul(consul) => {
            ConsulCatalog::new(consul, options).map(|catalog| Box::new(catalog) as _)
        }
        CatalogUri::Srv(srv) => SrvCatalog::new(srv, options).map(|catalog| Box::new(catalog) as _),
        CatalogUri::File(path) => Ok(Box::new(FileCatalog::new(path, options))),
        CatalogUri::Etcd(etcd) => EtcdCatalog::new(etcd, options).map(|catalog| Box::new(catalog) as _),
        CatalogUri::Nacos(nacos) => NacosCatalog::new(nacos, options).map(|catalog| Box::new(catalog) as _),
        CatalogUri::Local => Err(Cause::Settings(
            "local: names a private node that cbrowse connect starts, not a registry".into(),
        )),
    };
    let catalog = opened.map_err(|cause| cause.of(uri))?;
    Ok(Box::new(Narrowed::new(catalog, options.query.clone(), options.figures.meter(uri))))
}

/// Opens a registry for writing. Connects to nothing yet.
pub fn open_registry(uri: &CatalogUri, options: &Options) -> Result<Box<dyn Registry>, RegistryError> {
    let opened: Result<Box<dyn Registry>, Cause> = match uri {
        CatalogUri::Consul(consul) => {
            ConsulRegistry::new(consul, options).map(|registry| Box::new(registry) as _)
        }
        CatalogUri::Etcd(etcd) => EtcdRegistry::new(etcd, options).map(|registry| Box::new(registry) as _),
        CatalogUri::Nacos(nacos) => {
            NacosRegistry::new(nacos, options).map(|registry| Box::new(registry) as _)
        }
        CatalogUri::Srv(_) | CatalogUri::File(_) | CatalogUri::Local => {
            Err(Cause::Settings("a node cannot register there, only in Consul, etcd and Nacos; for example consul://127.0.0.1:8500".into()))
        }
    };
    opened.map_err(|cause| RegistryError { registry: uri.to_string(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_says_why() {
        let options = Options::default();
        assert!(open(&CatalogUri::Local, &options).is_err());
        for uri in ["consul://", "etcd://", "dns+srv://x.example?server=127.0.0.1:1", "nacos://h", "file:x"] {
            let uri: CatalogUri = uri.parse().expect(uri);
            assert_eq!(open(&uri, &options).expect("opens").uri(), &uri);
        }
        for (uri, writable) in [
            ("consul://", true),
            ("etcd://", true),
            ("nacos://h", true),
            ("dns+srv://x.example", false),
            ("file:x", false),
            ("local:", false),
        ] {
            let uri: CatalogUri = uri.parse().expect(uri);
            assert_eq!(open_registry(&uri, &options).is_ok(), writable, "{uri}");
        }
    }
}
