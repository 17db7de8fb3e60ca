//! Whom a client believes, and what it shows: certificates on the way to a daemon that speaks TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Failure;

/// The files that were named.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Trust {
    /// PEM file with whom to believe about an https:// daemon, in place of this system's list
    #[arg(
        long,
        global = true,
        env = "ADAPTERD_CA",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate to show to an https:// daemon
    #[arg(
        long,
        global = true,
        env = "ADAPTERD_CERT",
        value_name = "FILE",
        help_heading = "Connection",
        requires = "cert_key"
    )]
    pub cert: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(
        id = "cert_key",
        long = "key",
        global = true,
        env = "ADAPTERD_CERT_KEY",
        value_name = "FILE",
        help_heading = "Connection",
        requires = "cert"
    )]
    pub cert_key: Option<PathBuf>,
}

impl Trust {
    /// What TLS works with. Where none is spoken nothing is read for it.
    pub(super) fn config(&self, is_tls: bool) -> Result<ClientConfig, Failure> {
        let roots = match (&self.ca, is_tls) {
            (_, false) => RootCertStore::empty(),
            (Some(ca), true) => named(ca)?,
            (None, true) => of_this_system()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::failed)?
            .with_root_certificates(roots);
        match (&self.cert, &self.cert_key, is_tls) {
            (Some(cert), Some(key), true) => {
                let chain = certificates("--cert", cert)?;
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|fault| unusable("--key", key, &fault))?;
                let made = builder.with_client_auth_cert(chain, read);
                made.map_err(|fault| unusable("--key", key, &fault))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

fn unusable(flag: &str, path: &Path, fault: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{flag} {}: {fault}", path.display()))
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(unusable(flag, path, &"is not PEM with a certificate"))
        }
        Ok(found) => Ok(found),
        Err(fault) => Err(unusable(flag, path, &fault)),
    }
}

fn named(ca: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca", ca)? {
        let added = roots.add(certificate);
        added.map_err(|fault| unusable("--ca", ca, &fault))?;
    }
    Ok(roots)
}

/// As the system's own programs believe it, with what its administrator has added.
fn of_this_system() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems list certificates that are no longer well-formed.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err(Failure::Usage(
            "this system lists nobody whose certificates could be believed; name a file with --ca"
                .into(),
        )),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_named_with_their_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();
        let trust = Trust {
            ca: Some(path.clone()),
            ..Trust::default()
        };
        let told = trust.config(true).unwrap_err().to_string();
        assert!(told.contains("--ca") && told.contains("ca.pem"), "{told}");
        assert!(
            trust.config(false).is_ok(),
            "not read where there is no TLS"
        );
        let trust = Trust {
            ca: Some(dir.path().join("none.pem")),
            ..Trust::default()
        };
        assert!(trust.config(true).is_err());
    }
}
