//! Creates the client from the command line.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sqlhttp_rqlite::client::{Client, Host, HyperTransport, InvalidHost};

use crate::args::Args;
use crate::output::warn;

/// The environment variable with the URL of the server.
const HOST_VARIABLE: &str = "RQLITE_HOST";
/// The environment variable with the password.
const PASSWORD_VARIABLE: &str = "SQLHTTP_PASSWORD";

/// The error of a command line that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Host(#[from] InvalidHost),
    #[error("{HOST_VARIABLE}: {0}")]
    Variable(InvalidHost),
    #[error("--user: no password is given; use --password-file, or set {PASSWORD_VARIABLE}")]
    NoPassword,
    #[error("--user contains a password; remove it, or remove --password-file")]
    TwoPasswords,
    #[error("the password cannot be read from the terminal: {0}")]
    Terminal(std::io::Error),
    #[error("{file}: {why}")]
    File { file: String, why: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Creates the client for the servers and with the credentials of the command line.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) fn client(args: &Args) -> Result<Client<HyperTransport>, ConnectError> {
    let mut transport = HyperTransport::new(tls(args)?);
    if !args.http_timeout.is_zero() {
        transport = transport.with_timeout(args.http_timeout);
    }
    let first = first_host(args, std::env::var(HOST_VARIABLE).ok().as_deref())?;
    let scheme = args.scheme.map_or(first.scheme().as_str(), |scheme| scheme.as_str());
    let others = args.alternatives.iter().map(|host| match host.contains("://") {
        true => host.parse(),
        false => format!("{scheme}://{host}").parse(),
    });
    let others = others.collect::<Result<Vec<Host>, InvalidHost>>()?;
    let client = Client::new(transport, first, others).with_prefix(&args.prefix);
    Ok(match &args.user {
        Some(user) => {
            let (name, password) = credentials(user, args.password_file.as_deref())?;
            client.with_basic_auth(name, &password)
        }
        None => client,
    })
}

/// Returns the name and the password of the user. The password is, in this order, a part of `--user`, the content of a
/// file, the value of an environment variable, or what the user types.
fn credentials<'u>(user: &'u str, file: Option<&Path>) -> Result<(&'u str, String), ConnectError> {
    if let Some((name, password)) = user.split_once(':') {
        if file.is_some() {
            return Err(ConnectError::TwoPasswords);
        }
        if std::io::stderr().is_terminal() {
            warn("other users of this machine can see the password in the list of processes");
        }
        return Ok((name, password.to_owned()));
    }
    if let Some(file) = file {
        return Ok((user, password_in(file)?));
    }
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok((user, password));
    }
    if !std::io::stdin().is_terminal() {
        return Err(ConnectError::NoPassword);
    }
    let password = rpassword::prompt_password(format!("Password of {user}: ")).map_err(ConnectError::Terminal)?;
    Ok((user, password))
}

/// Reads the first line of a file. On Unix, the file must be readable only by its owner.
fn password_in(file: &Path) -> Result<String, ConnectError> {
    let mut opened = File::open(file).map_err(|why| unreadable(file, &why))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = opened.metadata().map_err(|why| unreadable(file, &why))?.permissions().mode();
        if mode & 0o077 != 0 {
            let why = format!("others can read the password (mode {:03o}); run chmod 600", mode & 0o777);
            return Err(unreadable(file, &why));
        }
    }
    let mut content = String::new();
    opened.read_to_string(&mut content).map_err(|why| unreadable(file, &why))?;
    match content.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(unreadable(file, &"the first line is empty; it must contain the password")),
    }
}

/// Returns the server that is tried first. `variable` is the value of `RQLITE_HOST`.
fn first_host(args: &Args, variable: Option<&str>) -> Result<Host, ConnectError> {
    let given = args.scheme.is_some() || args.host.is_some() || args.port.is_some();
    if let Some(url) = variable.filter(|_| !given) {
        return url.parse().map_err(ConnectError::Variable);
    }
    let scheme = args.scheme.map_or("http", |scheme| scheme.as_str());
    let host = args.host.as_deref().unwrap_or("127.0.0.1");
    let bracketed = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    Ok(format!("{scheme}://{bracketed}:{}", args.port.unwrap_or(4001)).parse()?)
}

fn tls(args: &Args) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if args.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        match &args.ca_cert {
            Some(file) => roots.add_parsable_certificates(certificates(file)?),
            // Certificates that cannot be read are not trusted.
            None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        builder.with_root_certificates(roots)
    };
    let (Some(cert), Some(key)) = (&args.client_cert, &args.client_key) else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| unreadable(key, &why))?;
    Ok(builder.with_client_auth_cert(certificates(cert)?, private)?)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let read = CertificateDer::pem_file_iter(file).map_err(|why| unreadable(file, &why))?;
    let certificates: Result<Vec<_>, _> = read.collect();
    let certificates = certificates.map_err(|why| unreadable(file, &why))?;
    if certificates.is_empty() {
        return Err(unreadable(file, &"the file contains no certificate"));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, why: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::File { file: file.display().to_string(), why: why.to_string() }
}

/// Accepts every certificate of a server (`--insecure`). The connection is encrypted, but the server may be any.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn host(line: &str, variable: Option<&str>) -> String {
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        first_host(&args, variable).map_or_else(|error| error.to_string(), |host| host.to_string())
    }

    #[test]
    fn the_first_server() {
        assert_eq!(host("sqlhttp", None), "http://127.0.0.1:4001");
        assert_eq!(host("sqlhttp", Some("https://db:1")), "https://db:1");
        assert_eq!(host("sqlhttp -p 5", Some("https://db:1")), "http://127.0.0.1:5");
        assert_eq!(host("sqlhttp -s https -H ::1", None), "https://[::1]:4001");
        assert!(host("sqlhttp", Some("ftp://x")).starts_with("RQLITE_HOST: "));
    }
}
