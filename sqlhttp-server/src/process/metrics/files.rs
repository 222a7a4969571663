//! Metrics about files: the free disk space, and the expiry time of the TLS certificate.

use std::fmt;
use std::path::{Path, PathBuf};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sqlhttp_core::Location;

/// Returns the number of free bytes on the file system of a database. Returns `None` if the database is in memory or
/// the operating system does not report the number.
pub(crate) fn free_bytes(location: &Location) -> Option<u64> {
    match location {
        Location::File(path) => free_bytes_beside(path),
        Location::Memory => None,
    }
}

#[cfg(unix)]
fn free_bytes_beside(path: &Path) -> Option<u64> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let figures = rustix::fs::statvfs(directory).ok()?;
    Some(figures.f_bavail.saturating_mul(figures.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes_beside(_: &Path) -> Option<u64> {
    None
}

/// The Prometheus collector of the expiry time of the certificate in a PEM file.
#[derive(Debug)]
pub(crate) struct CertificateCollector(pub(crate) PathBuf);

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // If the file cannot be read, the TLS code reports that.
        let Some(expiry) = expiry(&self.0) else { return Ok(()) };
        let help = "End of the validity of the certificate that HTTPS clients are shown, seconds since the Unix epoch";
        let name = "tls_certificate_expiry_timestamp_seconds";
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&expiry)
    }
}

/// Returns the expiry time of the first certificate in a PEM file, in seconds since the Unix epoch. `None` if the file
/// cannot be read or parsed.
fn expiry(file: &Path) -> Option<i64> {
    let certificate = CertificateDer::from_pem_file(file).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_reported_for_files_only() {
        assert_eq!(free_bytes(&Location::Memory), None);
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(&Location::File(dir.path().join("x.db"))).unwrap() > 0);
        assert_eq!(free_bytes(&Location::File("/nonexistent/x.db".into())), None);
        assert!(free_bytes(&Location::File("x.db".into())).unwrap() > 0);
    }

    #[test]
    fn the_expiry_of_a_certificate_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let file = dir.path().join("cert.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        assert_eq!(expiry(&file), Some(1_893_456_000));
        assert_eq!(expiry(&dir.path().join("none.pem")), None);
    }
}
