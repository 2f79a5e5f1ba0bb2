//! An authority of the tests' own, for certificates that are right, expired or somebody else's.

use std::ops::Range;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Long enough for these tests to be read.
pub(crate) const VALID: Range<i32> = 2020..2120;
/// Over long ago.
pub(crate) const EXPIRED: Range<i32> = 2020..2021;

/// Its files are gone when it is dropped.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// Paths of a certificate and of its key, in PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "test authority");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let signed = parameters.self_signed(&key).expect("a certificate");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), signed.pem()).expect("written");
        Self { issuer: Issuer::new(parameters, key), directory }
    }

    /// Path of its own certificate.
    pub(crate) fn file(&self) -> String {
        self.at("ca.pem")
    }

    /// A certificate, of a server or a client, for `names` that holds in these years; `file` tells it from others.
    pub(crate) fn sign(&self, file: &str, names: &[&str], years: Range<i32>) -> Signed {
        let own = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = date_time_ymd(years.start, 1, 1);
        parameters.not_after = date_time_ymd(years.end, 1, 1);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = parameters.signed_by(&own, &self.issuer).expect("a certificate");
        let (certificate, key) = (self.at(&format!("{file}.pem")), self.at(&format!("{file}-key.pem")));
        std::fs::write(&certificate, signed.pem()).expect("written");
        std::fs::write(&key, own.serialize_pem()).expect("written");
        Signed { certificate, key }
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}
