//! Who answers: the Ed25519 identity that certifies the TLS key of this very handshake. Names and dates decide nothing.
//!
//! The node sends [leaf, identity certificate]. The identity's key must be Ed25519, must have signed the leaf, and the
//! leaf's key must sign the handshake; then whoever answers has the identity's consent. Whether that identity is
//! *trusted* is decided elsewhere ([`crate::trust`]); here it is only established.

use std::sync::Arc;

use cbrowse_protocol::identity::IdentityKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The only application protocol: WebSocket upgrades need HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";
/// What signs handshakes and certificates of nodes.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// Why nobody's identity stands behind a certificate chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not two certificates: a TLS front of another kind answers there.
    #[error(
        "{0} certificates came where a node sends two: this is no cbrowse node, or something in between ends TLS"
    )]
    ChainLength(usize),
    /// The second certificate's key is of another kind, or unreadable.
    #[error("the certificate that should hold the node's identity has no Ed25519 key")]
    KeyKind,
    /// The first certificate is not signed by the second's key.
    #[error("the node's TLS key is not certified by the identity it names ({0})")]
    NotCertified(webpki::Error),
}

/// TLS 1.3 to a node whose identity is read after the handshake with [`identity_of`].
pub fn client_config() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(NodeVerifier { provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session shows no certificate; one round trip is not worth another way to be someone.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The identity that certifies `chain`, at `now`.
pub fn identity_of(chain: &[CertificateDer<'_>], now: UnixTime) -> Result<IdentityKey, IdentityError> {
    let [leaf, identity] = chain else {
        return Err(IdentityError::ChainLength(chain.len()));
    };
    let anchor = anchor_from_trusted_cert(identity).map_err(|_| IdentityError::KeyKind)?;
    let key = IdentityKey::from_subject_public_key_info(&anchor.subject_public_key_info)
        .ok_or(IdentityError::KeyKind)?;
    let algorithms = [webpki::aws_lc_rs::ED25519];
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| {
            leaf.verify_for_usage(
                &algorithms,
                std::slice::from_ref(&anchor),
                &[],
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map(|_| ())
        })
        .map_err(IdentityError::NotCertified)?;
    Ok(key)
}

#[derive(Debug)]
struct NodeVerifier {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        identity_of(&chain, now)
            .map(|_| ServerCertVerified::assertion())
            .map_err(|error| CertificateError::Other(OtherError(Arc::new(error))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nodes speak TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_node::tls::certificates;
    use cbrowse_protocol::identity::SigningKey;

    use super::*;

    fn chain(identity: &SigningKey) -> Vec<CertificateDer<'static>> {
        certificates(identity).expect("certificates").0
    }

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000))
    }

    #[test]
    fn the_identity_is_the_one_that_certifies_the_leaf() {
        let identity = SigningKey::generate();
        assert_eq!(identity_of(&chain(&identity), now()), Ok(identity.public()));
    }

    #[test]
    fn a_borrowed_identity_certificate_is_noticed() {
        let (honest, forger) = (SigningKey::generate(), SigningKey::generate());
        let borrowed = [chain(&forger)[0].clone(), chain(&honest)[1].clone()];
        assert!(matches!(identity_of(&borrowed, now()), Err(IdentityError::NotCertified(_))));
    }

    #[test]
    fn other_chains_are_no_nodes() {
        let chain = chain(&SigningKey::generate());
        assert_eq!(identity_of(&chain[..1], now()), Err(IdentityError::ChainLength(1)));
        let long = [&chain[..], &chain[1..]].concat();
        assert_eq!(identity_of(&long, now()), Err(IdentityError::ChainLength(3)));
        assert_eq!(identity_of(&[chain[1].clone(), chain[0].clone()], now()), Err(IdentityError::KeyKind));
        let garbage = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert_eq!(identity_of(&[chain[0].clone(), garbage], now()), Err(IdentityError::KeyKind));
    }

    #[test]
    fn flipped_certificates_never_yield_an_identity_and_never_panic() {
        let identity = SigningKey::generate();
        let chain = chain(&identity);
        for at in 0..chain[0].len() {
            let mut bytes = chain[0].to_vec();
            bytes[at] ^= 0x01;
            let changed = [CertificateDer::from(bytes), chain[1].clone()];
            assert!(identity_of(&changed, now()).is_err(), "byte {at}");
        }
        for at in 0..chain[1].len() {
            let mut bytes = chain[1].to_vec();
            bytes[at] ^= 0x01;
            let changed = [chain[0].clone(), CertificateDer::from(bytes)];
            // The self-signature is nobody's proof, so a change outside the key and the name may pass; the key may not change.
            assert!(identity_of(&changed, now()).map_or(true, |key| key == identity.public()), "byte {at}");
        }
    }
}
