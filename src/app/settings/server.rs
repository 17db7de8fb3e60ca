//! Where the daemon listens, with which certificates, and what connections may be.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::http::Origins;
use crate::api::tls::{self, ClientAuth};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// An address of its own for what operates the daemon: adapters, keys and metrics, which the other two then refuse; empty
    /// is none.
    pub admin: String,
    pub tls: Tls,
    /// Connections of one protocol open at once; a few more may ask the HTTP probes, further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Of these, those of one address (of IPv6, one /64); further ones are closed.
    pub max_connections_per_address: usize,
    /// A request's line and headers together.
    pub max_header_bytes: usize,
    /// Requests of one HTTP/2 connection at once.
    pub max_streams: u32,
    /// Seconds that running requests get to end after a signal to stop.
    pub drain_seconds: u64,
    /// Pages of other places whose scripts may use the HTTP API from a browser, as `https://chat.example:8443`; `*` is all.
    pub cors_origins: Vec<String>,
    /// Listen beyond loopback with `auth.mode` off.
    pub insecure_bind: bool,
}

/// Of every address. Without a certificate there is no TLS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM: this daemon's certificate, followed by those between it and a root.
    pub certificate: PathBuf,
    /// PEM: its key, not encrypted.
    pub key: PathBuf,
    /// PEM: whose certificates callers show; empty asks for none.
    pub client_ca: PathBuf,
    /// Whether a caller must show one: required or optional.
    pub client_auth: ClientAuth,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 8081)),
            admin: String::new(),
            tls: Tls::default(),
            max_connections: 1024,
            max_connections_per_address: 512,
            max_header_bytes: 64 << 10,
            max_streams: 256,
            drain_seconds: 30,
            cors_origins: Vec::new(),
            insecure_bind: false,
        }
    }
}

impl Tls {
    /// The files, where there is TLS.
    pub fn files(&self) -> Option<tls::Files> {
        let said = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        let (certificate, key, client_ca) = (
            said(&self.certificate),
            said(&self.key),
            said(&self.client_ca),
        );
        if certificate.is_none() && key.is_none() && client_ca.is_none() {
            return None;
        }
        Some(tls::Files {
            certificate: certificate.unwrap_or_default(),
            key: key.unwrap_or_default(),
            client_ca,
            client_auth: self.client_auth,
        })
    }

    /// What those who connect are served with, or everything that is wrong with the files, by setting.
    pub fn open(&self) -> Result<Option<tls::Tls>, Vec<(&'static str, String)>> {
        let opened = self.files().map(tls::Tls::open).transpose();
        opened.map_err(|mistakes| {
            let mistakes = mistakes.into_iter();
            mistakes
                .map(|tls::Mistake { what, why }| match what {
                    "certificate" => ("server.tls.certificate", why),
                    "key" => ("server.tls.key", why),
                    _ => ("server.tls.client_ca", why),
                })
                .collect()
        })
    }

    /// What is wrong whatever the files hold: commands that serve nothing need none of them.
    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let Some(files) = self.files() else {
            let why = "has no meaning without `server.tls.client_ca`";
            let said = self.client_auth != ClientAuth::default();
            return Vec::from_iter(said.then(|| ("server.tls.client_auth", why.to_owned())));
        };
        let needed = [
            ("server.tls.certificate", files.certificate),
            ("server.tls.key", files.key),
        ];
        let missing = needed
            .into_iter()
            .filter(|(_, path)| path.as_os_str().is_empty());
        let why = "is missing: TLS needs a certificate and its key";
        missing.map(|(key, _)| (key, why.to_owned())).collect()
    }
}

impl Server {
    /// The address for what operates the daemon.
    pub fn admin(&self) -> Result<Option<SocketAddr>, String> {
        match self.admin.trim() {
            "" => Ok(None),
            text => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(_) => Err(format!("`{text}` is no address as 127.0.0.1:8082")),
            },
        }
    }

    /// With their settings.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let mut all = vec![("server.http", self.http), ("server.grpc", self.grpc)];
        let admin = self.admin().ok().flatten();
        all.extend(admin.map(|address| ("server.admin", address)));
        all
    }

    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = self.tls.mistakes();
        let origins = Origins::parse(&self.cors_origins).err().unwrap_or_default();
        found.extend(origins.into_iter().map(|why| ("server.cors_origins", why)));
        found.extend(self.admin().err().map(|why| ("server.admin", why)));
        for (key, value, least, most) in [
            ("server.max_connections", self.max_connections, 1, 1 << 20),
            (
                "server.max_connections_per_address",
                self.max_connections_per_address,
                1,
                1 << 20,
            ),
            // Below, a head of everyday size would not fit.
            (
                "server.max_header_bytes",
                self.max_header_bytes,
                8 << 10,
                1 << 20,
            ),
            ("server.max_streams", self.max_streams as usize, 1, 1 << 16),
        ] {
            if !(least..=most).contains(&value) {
                found.push((key, format!("{value} is not within {least} to {most}")));
            }
        }
        let addresses = self.addresses();
        for (at, (key, address)) in addresses.iter().enumerate() {
            let before = addresses[..at].iter().find(|(_, other)| other == address);
            if let Some((other, _)) = before.filter(|_| address.port() != 0) {
                found.push((key, format!("{address} is taken by {other}")));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_tls_is_a_mistake_that_names_the_other_half() {
        let tls = |certificate: &str, key: &str, client_ca: &str| Tls {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: client_ca.into(),
            client_auth: ClientAuth::Required,
        };
        let keys = |mistakes: Vec<(&'static str, String)>| {
            let mistakes = mistakes.into_iter();
            mistakes.map(|(key, _)| key).collect::<Vec<_>>()
        };
        let of = |certificate: &str, key: &str, client_ca: &str| {
            keys(tls(certificate, key, client_ca).mistakes())
        };
        let (certificate, key) = ("server.tls.certificate", "server.tls.key");
        assert_eq!(of("", "", ""), Vec::<&str>::new());
        assert_eq!(of("a", "", ""), [key]);
        assert_eq!(of("", "b", ""), [certificate]);
        assert_eq!(of("", "", "c"), [certificate, key]);
        // Files are looked at when they are to be used.
        assert_eq!(of("/nowhere/a", "/nowhere/b", ""), Vec::<&str>::new());
        let all = tls("/nowhere/a", "/nowhere/b", "/nowhere/c").open();
        let all = keys(all.err().unwrap());
        assert_eq!(all, [certificate, key, "server.tls.client_ca"]);
    }

    #[test]
    fn an_address_is_listened_on_once() {
        let server = Server {
            admin: "127.0.0.1:8081".into(),
            ..Server::default()
        };
        let found = server.mistakes();
        assert_eq!(found[0].0, "server.admin");
        let server = Server {
            admin: "8082".into(),
            ..Server::default()
        };
        assert_eq!(server.mistakes()[0].0, "server.admin");
    }
}
