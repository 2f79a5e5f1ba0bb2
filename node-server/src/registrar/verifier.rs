//! Whom a check believes: anybody, since it trusts the answer with nothing; but an entry that names its node's
//! identity means that node and no other, and then whoever answers has to show that identity's consent.
//!
//! A node sends [leaf, identity certificate], see [`crate::tls`].

use std::sync::Arc;

use cbrowse_protocol::identity::IdentityKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// TLS to a node of this identity, or to whoever is there.
pub(super) fn client_config(
    identity: Option<IdentityKey>,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier { identity, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Verifier {
    identity: Option<IdentityKey>,
    provider: Arc<CryptoProvider>,
}

/// Whether `identity` certifies the leaf.
fn certifies(
    identity: IdentityKey,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    now: UnixTime,
) -> bool {
    let [certificate] = rest else { return false };
    let Ok(anchor) = anchor_from_trusted_cert(certificate) else { return false };
    let key = IdentityKey::from_subject_public_key_info(&anchor.subject_public_key_info);
    let verified = EndEntityCert::try_from(leaf).and_then(|leaf| {
        let (anchors, usage) = (std::slice::from_ref(&anchor), KeyUsage::server_auth());
        leaf.verify_for_usage(&[webpki::aws_lc_rs::ED25519], anchors, &[], now, usage, None, None).map(|_| ())
    });
    key == Some(identity) && verified.is_ok()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.identity {
            Some(identity) if !certifies(identity, leaf, rest, now) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
