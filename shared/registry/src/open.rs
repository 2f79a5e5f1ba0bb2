//! From a catalog's name to the adapter that speaks to it.

use crate::{
    catalog::Catalog,
    consul::{ConsulCatalog, ConsulRegistry},
    environment::Environment,
    error::{CatalogError, Cause, RegistryError},
    file::FileCatalog,
    registry::Registry,
    srv::SrvCatalog,
    uri::CatalogUri,
};

/// Opens a catalog for reading. Connects to nothing yet, so an error is one of settings, never of the network.
/// [`CatalogUri::Local`] is not a registry: whoever starts the private node knows it already.
pub fn open(uri: &CatalogUri, environment: &Environment) -> Result<Box<dyn Catalog>, CatalogError> {
    let opened: Result<Box<dyn Catalog>, Cause> = match uri {
        CatalogUri::Consul(consul) => {
            ConsulCatalog::new(consul, environment).map(|catalog| Box::new(catalog) as _)
        }
        CatalogUri::Srv(srv) => SrvCatalog::new(srv).map(|catalog| Box::new(catalog) as _),
        CatalogUri::File(path) => Ok(Box::new(FileCatalog::new(path))),
        CatalogUri::Local => Err(Cause::Settings(
            "local: names a private node that cbrowse connect starts, not a registry".into(),
        )),
    };
    opened.map_err(|cause| cause.of(uri))
}

/// Opens a registry for writing. Connects to nothing yet.
pub fn open_registry(
    uri: &CatalogUri,
    environment: &Environment,
) -> Result<Box<dyn Registry>, RegistryError> {
    let opened: Result<Box<dyn Registry>, Cause> = match uri {
        CatalogUri::Consul(consul) => {
            ConsulRegistry::new(consul, environment).map(|registry| Box::new(registry) as _)
        }
        CatalogUri::Srv(_) | CatalogUri::File(_) | CatalogUri::Local => {
            Err(Cause::Settings("a node cannot register there; for example consul://127.0.0.1:8500".into()))
        }
    };
    opened.map_err(|cause| RegistryError { registry: uri.to_string(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_says_why() {
        let environment = Environment::default();
        assert!(open(&CatalogUri::Local, &environment).is_err());
        for uri in ["consul://", "dns+srv://x.example?server=127.0.0.1:1", "file:x"] {
            let uri: CatalogUri = uri.parse().expect(uri);
            assert_eq!(open(&uri, &environment).expect("opens").uri(), &uri);
        }
        for (uri, writable) in
            [("consul://", true), ("dns+srv://x.example", false), ("file:x", false), ("local:", false)]
        {
            let uri: CatalogUri = uri.parse().expect(uri);
            assert_eq!(open_registry(&uri, &environment).is_ok(), writable, "{uri}");
        }
    }
}
