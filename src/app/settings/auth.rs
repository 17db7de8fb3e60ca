//! Who is let in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::server::Server;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    /// Whether `/metrics` asks for no key: auto (where HTTP listens on loopback), true, false.
    pub open_metrics: OpenMetrics,
    /// What callers get beside others, by how their keys begin, as `sk-team-a=2,sk-batch=0.5`; others have 1. A key that was
    /// made with a weight has that.
    pub weights: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Whoever reaches the addresses may do everything.
    #[default]
    Off,
    /// Whoever has a key may do what the key says.
    Keys,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Said", into = "String")]
pub enum OpenMetrics {
    #[default]
    Auto,
    Always,
    Never,
}

/// As files and variables write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Truth(bool),
    Word(String),
}

impl TryFrom<Said> for OpenMetrics {
    type Error = String;

    fn try_from(said: Said) -> Result<Self, String> {
        match said {
            Said::Truth(true) => Ok(Self::Always),
            Said::Truth(false) => Ok(Self::Never),
            Said::Word(word) => match word.as_str() {
                "auto" => Ok(Self::Auto),
                "true" => Ok(Self::Always),
                "false" => Ok(Self::Never),
                other => Err(format!("`{other}` is none of auto, true, false")),
            },
        }
    }
}

impl From<OpenMetrics> for String {
    fn from(open: OpenMetrics) -> Self {
        let word = match open {
            OpenMetrics::Auto => "auto",
            OpenMetrics::Always => "true",
            OpenMetrics::Never => "false",
        };
        word.to_owned()
    }
}

impl Auth {
    pub fn opens_metrics(&self, server: &Server) -> bool {
        match self.open_metrics {
            // Where they are answered.
            OpenMetrics::Auto => {
                let admin = server.admin().ok().flatten();
                is_loopback(admin.unwrap_or(server.http).ip())
            }
            OpenMetrics::Always => true,
            OpenMetrics::Never => false,
        }
    }

    /// Without keys, an address that others can reach lets them do everything: that takes more than an oversight.
    pub fn mistakes(&self, server: &Server) -> Vec<(&'static str, String)> {
        if self.mode == AuthMode::Keys || server.insecure_bind {
            return Vec::new();
        }
        let open = server
            .addresses()
            .into_iter()
            .filter(|(_, address)| !is_loopback(address.ip()));
        open.map(|(key, address)| {
            let why = format!(
                "{address} can be reached from other machines, and `auth.mode` off lets whoever reaches it do everything: make a key \
                 with `adapterd key create --name me --scopes admin` and set `auth.mode = \"keys\"`, or set `server.insecure_bind = true` \
                 where something in front of this address lets callers in"
            );
            (key, why)
        })
        .collect()
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(http: &str, grpc: &str) -> Server {
        Server {
            http: http.parse().unwrap(),
            grpc: grpc.parse().unwrap(),
            ..Server::default()
        }
    }

    #[test]
    fn without_keys_only_loopback_is_listened_on_unless_that_is_wished() {
        let keys = Auth {
            mode: AuthMode::Keys,
            ..Auth::default()
        };
        let off = Auth::default();
        for (http, grpc, wrong) in [
            ("127.0.0.1:1", "[::1]:2", &[][..]),
            ("127.7.7.7:1", "[::ffff:127.0.0.1]:2", &[]),
            ("0.0.0.0:1", "127.0.0.1:2", &["server.http"]),
            ("127.0.0.1:1", "[::]:2", &["server.grpc"]),
            ("10.0.0.1:1", "192.0.2.1:2", &["server.http", "server.grpc"]),
        ] {
            let mut server = server(http, grpc);
            let found = off.mistakes(&server);
            let found: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
            assert_eq!(found, wrong, "{http} {grpc}");
            assert_eq!(keys.mistakes(&server), []);
            server.insecure_bind = true;
            assert_eq!(off.mistakes(&server), []);
        }
    }

    #[test]
    fn by_itself_metrics_are_open_where_only_this_machine_reaches_them() {
        let of = |open_metrics, http| {
            let auth = Auth {
                open_metrics,
                ..Auth::default()
            };
            auth.opens_metrics(&server(http, "127.0.0.1:2"))
        };
        assert!(of(OpenMetrics::Auto, "127.0.0.1:1"));
        assert!(!of(OpenMetrics::Auto, "0.0.0.0:1"));
        assert!(of(OpenMetrics::Always, "0.0.0.0:1"));
        assert!(!of(OpenMetrics::Never, "127.0.0.1:1"));
    }
}
