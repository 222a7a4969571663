//! The verification of client certificates: of the issuing authority and of the common name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;
use super::identity::read_certificates;

/// Creates a verifier that requires each client to present a certificate. The certificate must come from an authority
/// in the file `ca`, or, if `ca` is `None`, from an authority that the host trusts. If `common_name` is set, the
/// certificate must have that common name.
pub(crate) fn verifier(
    ca: Option<&Path>,
    common_name: Option<&str>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(ca.map_or_else(roots_of_host, roots_in_file)?);
    let authority_verifier: Arc<dyn ClientCertVerifier> =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build().map_err(TlsError::Clients)?;
    Ok(match common_name {
        None => authority_verifier,
        Some(name) => Arc::new(CommonNameVerifier { authority_verifier, common_name: name.to_owned() }),
    })
}

pub(super) fn roots_in_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates(path)?);
    if roots.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(roots) }
}

/// Reads the certificate authorities that the host trusts. Certificates that cannot be read are skipped. Fails if none
/// can be read.
pub(super) fn roots_of_host() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoHostRoots(found.errors)) } else { Ok(roots) }
}

/// A verifier that accepts a client if `authority_verifier` accepts it and its certificate has the common name
/// `common_name`.
#[derive(Debug)]
struct CommonNameVerifier {
    authority_verifier: Arc<dyn ClientCertVerifier>,
    common_name: String,
}

impl ClientCertVerifier for CommonNameVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority_verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.authority_verifier.verify_client_cert(end_entity, intermediates, now)?;
        if has_common_name(end_entity, &self.common_name)? {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority_verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority_verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority_verifier.supported_verify_schemes()
    }
}

/// Returns whether a certificate has the common name `name`. If the subject has several common names, only the last is
/// compared, because it is the most specific.
fn has_common_name(certificate: &CertificateDer<'_>, name: &str) -> Result<bool, Error> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let last = certificate.subject().iter_common_name().last();
    Ok(last.and_then(|found| found.as_str().ok()) == Some(name))
}
