//! Who asks a daemon: holders of keys, and clients of TLS.

use std::sync::Arc;

use adapterd::domain::{KeyAsk, KeyId, KeyLimits};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::Daemon;

impl Daemon {
    /// A new key: its id, and what its holder sends.
    pub async fn key(&self, scopes: &str, adapters: &str) -> (KeyId, String) {
        self.limited_key(scopes, adapters, KeyLimits::default())
            .await
    }

    /// The same of one that may not ask for all it likes.
    pub async fn limited_key(
        &self,
        scopes: &str,
        adapters: &str,
        limits: KeyLimits,
    ) -> (KeyId, String) {
        let ask = KeyAsk {
            name: "test".into(),
            scopes: scopes.parse().unwrap(),
            adapters: adapters.parse().unwrap(),
            weight: None,
            expires_in: None,
            limits,
            identity: None,
        };
        let issued = self.keys.create(ask).await.unwrap();
        (issued.key.id, issued.secret)
    }

    /// A request with a key, to a path.
    pub fn request(&self, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}{path}", self.http));
        request.bearer_auth(key)
    }
}

/// What a client of TLS believes, and the certificate (with its key) that it shows; all PEM.
pub fn trust(ca: Option<&str>, own: Option<(&str, &str)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
    }
}
