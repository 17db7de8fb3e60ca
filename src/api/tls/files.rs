//! The files of a TLS listener: read, held against each other, and made into what the library works with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blake3::Hash;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

/// No certificate or key is larger; a path to something else must not fill the memory.
const MOST_BYTES: u64 = 1 << 20;

/// What is asked of callers where there is a `client_ca`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Without a certificate there is no connection.
    #[default]
    Required,
    /// One that is shown must be good.
    Optional,
}

/// Where certificates are, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// This daemon's, followed by those between it and a root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whose certificates callers show.
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// What cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `certificate`, `key` or `client_ca`.
    pub what: &'static str,
    /// Names the file.
    pub why: String,
}

/// What listeners work with.
pub(super) struct Loaded {
    pub http: Arc<ServerConfig>,
    pub grpc: Arc<ServerConfig>,
    /// Unix seconds.
    pub expires_at: i64,
}

/// What cannot be used so far.
#[derive(Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn keep<T>(&mut self, what: &'static str, made: Result<T, String>) -> Option<T> {
        made.map_err(|why| self.0.push(Mistake { what, why })).ok()
    }
}

/// The contents of the files, or why there are none.
struct Contents {
    certificate: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
    client_ca: Option<Result<Vec<u8>, String>>,
}

impl Contents {
    fn digest(&self) -> Hash {
        let mut digest = blake3::Hasher::new();
        for content in [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
        {
            let bytes = match content {
                Ok(bytes) => &bytes[..],
                Err(why) => why.as_bytes(),
            };
            digest.update(&(bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        digest.finalize()
    }
}

impl Files {
    /// What they hold, and a digest of it: the same as before means that nothing has changed.
    pub(super) fn read(&self) -> (Result<Loaded, Vec<Mistake>>, Hash) {
        let contents = Contents {
            certificate: content(&self.certificate),
            key: content(&self.key),
            client_ca: self.client_ca.as_deref().map(content),
        };
        let digest = contents.digest();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or(Duration::ZERO).as_secs() as i64;
        (self.load(contents, now), digest)
    }

    fn load(&self, contents: Contents, now: i64) -> Result<Loaded, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let of =
            |path: &Path, bytes: Result<Vec<u8>, String>| bytes.map_err(|why| said(path, &why));
        let chain = of(&self.certificate, contents.certificate)
            .and_then(|bytes| chain(&bytes, now).map_err(|why| said(&self.certificate, &why)));
        let chain = mistakes.keep("certificate", chain);
        let key = of(&self.key, contents.key)
            .and_then(|bytes| private(&bytes).map_err(|why| said(&self.key, &why)));
        let key = mistakes.keep("key", key);
        let roots = match (self.client_ca.as_deref(), contents.client_ca) {
            (Some(path), Some(bytes)) => {
                let roots =
                    of(path, bytes).and_then(|bytes| roots(&bytes).map_err(|why| said(path, &why)));
                mistakes.keep("client_ca", roots)
            }
            _ => None,
        };
        let provider = Arc::new(ring::default_provider());
        let pair = match (chain, key) {
            (Some((chain, expires_at)), Some(key)) => {
                let pair = CertifiedKey::from_der(chain, key, &provider);
                let pair = pair.map_err(|fault| self.unpaired(&fault));
                let pair = mistakes.keep("key", pair);
                pair.map(|pair| (Arc::new(SingleCertAndKey::from(pair)), expires_at))
            }
            _ => None,
        };
        let (Some((pair, expires_at)), true) = (pair, mistakes.0.is_empty()) else {
            return Err(mistakes.0);
        };
        let config = |protocols: &[&[u8]]| {
            let made = configured(&provider, pair.clone(), roots.clone(), self.client_auth);
            made.map(|mut made| {
                made.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
                Arc::new(made)
            })
        };
        let http = mistakes.keep("client_ca", config(&[b"h2", b"http/1.1"]));
        let grpc = mistakes.keep("client_ca", config(&[b"h2"]));
        match (http, grpc) {
            (Some(http), Some(grpc)) => Ok(Loaded {
                http,
                grpc,
                expires_at,
            }),
            _ => Err(mistakes.0),
        }
    }

    fn unpaired(&self, fault: &Error) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        match fault {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("{key} is not the key of the certificate in {certificate}")
            }
            other => format!("{key} beside {certificate}: {other}"),
        }
    }
}

fn configured(
    provider: &Arc<CryptoProvider>,
    pair: Arc<SingleCertAndKey>,
    roots: Option<Arc<RootCertStore>>,
    client_auth: ClientAuth,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|fault| fault.to_string())?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let verifier = match client_auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|fault| fault.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_cert_resolver(pair))
}

fn said(path: &Path, why: &str) -> String {
    format!("{} {why}", path.display())
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let failed = |fault: std::io::Error| format!("cannot be read: {fault}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    match read.map_err(failed)? as u64 {
        0..=MOST_BYTES => Ok(bytes),
        _ => Err("is too large for certificates or a key".to_owned()),
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("is not PEM with a certificate (`-----BEGIN CERTIFICATE-----`)".to_owned())
        }
        Ok(found) => Ok(found),
        Err(fault) => Err(format!("is not PEM: {fault}")),
    }
}

/// With when the first of them expires.
fn chain(bytes: &[u8], now: i64) -> Result<(Vec<CertificateDer<'static>>, i64), String> {
    let chain = certificates(bytes)?;
    let leaf = chain.first().map_or(&[][..], |leaf| leaf);
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|fault| format!("holds no certificate in its first block: {fault}"))?;
    let validity = leaf.validity();
    if validity.not_after.timestamp() <= now {
        return Err(format!("has expired, on {}", validity.not_after));
    }
    if validity.not_before.timestamp() > now {
        return Err(format!("is not valid before {}", validity.not_before));
    }
    let expires_at = validity.not_after.timestamp();
    Ok((chain, expires_at))
}

fn private(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|fault| match fault {
        PemError::NoItemsFound => {
            "is not PEM with a private key that is not encrypted (`-----BEGIN PRIVATE KEY-----`)"
                .to_owned()
        }
        other => format!("is not PEM: {other}"),
    })
}

fn roots(bytes: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes)? {
        let added = roots.add(certificate);
        added.map_err(|fault| format!("holds a certificate that cannot be trusted: {fault}"))?;
    }
    Ok(Arc::new(roots))
}
