//! The node's TLS: 1.3 only, a fresh key at every start, certified by the node's identity.
//!
//! ```text
//! chain[0]  leaf      ECDSA P-256, lives in memory only, signed by the identity
//! chain[1]  identity  the Ed25519 identity key as a self-signed CA certificate
//! ```
//! The leaf is ECDSA because health checkers and browsers offer no Ed25519 in their handshakes' certificates; the
//! client of cbrowse looks at the key of `chain[1]` alone (see `attach/verifier.rs` there). Both carry the longest dates that
//! X.509 can express well: who has the leaf's key has the process that holds the identity, so an end date would guard
//! nothing and lock out clients with wrong clocks. An identity ends by its fleet statement or by being forgotten.

use std::sync::Arc;

use cbrowse_protocol::identity::SigningKey;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};

/// Chosen whenever a client offers it: WebSocket upgrades need HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";
/// For clients that offer nothing else, which is how gRPC asks.
#[cfg(feature = "grpc-health")]
pub const HTTP2: &[u8] = b"h2";
/// A name for the leaf; clients check the identity, not the name.
const LEAF_NAME: &str = "cbrowse-node";

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Making the certificates.
    #[error("make the node's certificates")]
    Certificate(#[from] rcgen::Error),
    /// Setting up TLS with them.
    #[error("set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// A server's TLS with a fresh leaf key, certified by `identity`.
pub fn server_config(identity: &SigningKey) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = certificates(identity)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols.push(HTTP1.to_vec());
    #[cfg(feature = "grpc-health")]
    config.alpn_protocols.push(HTTP2.to_vec());
    Ok(Arc::new(config))
}

/// The chain of the module's description, and the leaf's private key.
pub fn certificates(
    identity: &SigningKey,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let pkcs8 = identity.to_pkcs8();
    let identity_key =
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(&pkcs8[..]), &PKCS_ED25519)?;
    let identity_parameters = identity_parameters(identity)?;
    let identity_certificate = identity_parameters.self_signed(&identity_key)?;
    let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let issuer = Issuer::new(identity_parameters, identity_key);
    let leaf = leaf_parameters()?.signed_by(&leaf_key, &issuer)?;
    let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into();
    Ok((vec![leaf.der().clone(), identity_certificate.der().clone()], key))
}

fn identity_parameters(identity: &SigningKey) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = name(&format!("cbrowse identity {}", identity.public()));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(parameters)
}

fn leaf_parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(vec![LEAF_NAME.to_owned()])?;
    parameters.distinguished_name = name(LEAF_NAME);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_changes_and_the_identity_stays() {
        let identity = SigningKey::generate();
        let (first, _) = certificates(&identity).expect("certificates");
        let (second, _) = certificates(&identity).expect("certificates");
        assert_eq!((first.len(), second.len()), (2, 2));
        assert_ne!(first[0], second[0]);
        let key = identity.public();
        for chain in [&first, &second] {
            assert!(chain[1].windows(32).any(|window| window == key.as_bytes()));
            assert!(!chain[0].windows(32).any(|window| window == key.as_bytes()));
        }
    }
}
