//! The way to a daemon: direct, or through the proxy that the environment names.
//! This machine is never asked through a proxy, which could not reach it.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// Read in this order: the first that names a proxy counts.
const NAMES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// The same on the way to a daemon that speaks TLS.
const TLS_NAMES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Set for CGI programs, where a request's header `Proxy` would arrive as HTTP_PROXY.
const CGI: &str = "REQUEST_METHOD";
/// How long a name may take to turn out to be this machine's.
const LOOK_UP: Duration = Duration::from_millis(250);

/// A proxy in the way of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Which variable named it.
    pub variable: &'static str,
    /// As the variable has it, with a password where there is one.
    pub url: String,
    /// Without the password.
    shown: String,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shown, variable, ..
        } = self;
        write!(f, "the proxy {shown} that {variable} names")
    }
}

impl Proxy {
    /// The proxy between here and `server`, as `variable` (which reads one of the environment) says.
    pub fn between(server: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if is_here(server.host_str()?) || variable(CGI).is_some() {
            return None;
        }
        let said = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let exceptions = EXCEPTIONS.into_iter().find_map(said).unwrap_or_default();
        // For the matcher an asterisk excepts names, but not addresses.
        if exceptions.split(',').any(|host| host.trim() == "*") {
            return None;
        }
        let target: hyper::Uri = server.as_str().parse().ok()?;
        let names = match server.scheme() {
            "https" => TLS_NAMES,
            _ => NAMES,
        };
        let (variable, url, shown) = names.into_iter().find_map(|name| {
            let url = said(name)?;
            let shown = Matcher::builder()
                .all(url.as_str())
                .build()
                .intercept(&target)?;
            Some((name, url, shown.uri().to_string()))
        })?;
        // The list of exceptions is asked last: it excepts from all proxies.
        Matcher::builder()
            .all(url.as_str())
            .no(exceptions)
            .build()
            .intercept(&target)?;
        let port = server.port_or_known_default().unwrap_or(80);
        let shown = shown.trim_end_matches('/').to_owned();
        match leads_here(server.host_str()?, port) {
            true => None,
            false => Some(Self {
                variable,
                url,
                shown,
            }),
        }
    }
}

/// Whether a URL's host is this machine by what it says.
fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => is_own(address),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    // Only a machine's own addresses can be bound.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

/// Whether a name is one of this machine's. One that takes long to look up is taken for another's.
fn leads_here(host: &str, port: u16) -> bool {
    let (found, answer) = mpsc::channel();
    let name = host.to_owned();
    let looking = std::thread::Builder::new().spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs();
        // The receiver is gone where the look-up took too long.
        let _ = found.send(addresses.map(Vec::from_iter).unwrap_or_default());
    });
    if looking.is_err() {
        return false;
    }
    let addresses = answer.recv_timeout(LOOK_UP).unwrap_or_default();
    !addresses.is_empty() && addresses.iter().all(|address| is_own(address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(server: &str, variables: &[(&str, &str)]) -> Option<Proxy> {
        let url = Url::parse(server).unwrap();
        Proxy::between(&url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const EVERY: [(&str, &str); 8] = [
        ("HTTP_PROXY", "http://192.0.2.1:3128"),
        ("http_proxy", "http://192.0.2.1:3128"),
        ("HTTPS_PROXY", "http://192.0.2.1:3128"),
        ("https_proxy", "http://192.0.2.1:3128"),
        ("ALL_PROXY", "socks5://192.0.2.1:1080"),
        ("all_proxy", "socks5://192.0.2.1:1080"),
        ("NO_PROXY", ""),
        ("no_proxy", "example.com"),
    ];

    #[test]
    fn this_machine_is_never_asked_through_a_proxy() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.9.8.7:1",
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "api.localhost:8080",
            "a.b.localhost",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
            "0.0.0.0:8080",
            "[::]:8080",
        ] {
            assert_eq!(between(&format!("http://{host}/"), &EVERY), None, "{host}");
        }
    }

    #[test]
    fn another_machine_is_asked_through_the_proxy_that_the_environment_names() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case; 11] = [
            (&[], None),
            (
                &[("HTTP_PROXY", "http://192.0.2.1:3128")],
                Some("HTTP_PROXY"),
            ),
            (&[("http_proxy", "192.0.2.1:3128")], Some("http_proxy")),
            (
                &[("ALL_PROXY", "socks5://192.0.2.1:1080")],
                Some("ALL_PROXY"),
            ),
            (&[("all_proxy", "http://192.0.2.1")], Some("all_proxy")),
            (&[("HTTPS_PROXY", "http://192.0.2.1:3128")], None),
            (
                &[("HTTP_PROXY", ""), ("http_proxy", "http://192.0.2.1")],
                Some("http_proxy"),
            ),
            (
                &[("HTTP_PROXY", "::"), ("ALL_PROXY", "http://192.0.2.1")],
                Some("ALL_PROXY"),
            ),
            (
                &[("HTTP_PROXY", "http://192.0.2.1"), ("NO_PROXY", "*")],
                None,
            ),
            (
                &[
                    ("HTTP_PROXY", "http://192.0.2.1"),
                    ("no_proxy", "198.51.100.0/24"),
                ],
                None,
            ),
            (
                &[
                    ("HTTP_PROXY", "http://192.0.2.1"),
                    ("REQUEST_METHOD", "GET"),
                ],
                None,
            ),
        ];
        for (variables, named) in cases {
            let found = between("http://198.51.100.7:8080/", variables);
            assert_eq!(found.map(|proxy| proxy.variable), named, "{variables:?}");
        }
        for host in ["notlocalhost.invalid", "localhost.invalid", "128.0.0.1"] {
            let found = between(&format!("http://{host}:8080/"), &EVERY[..1]);
            assert!(found.is_some(), "{host}");
        }
    }

    #[test]
    fn a_proxys_password_is_not_told() {
        let variables = [("HTTP_PROXY", "http://me:secret@192.0.2.1:3128")];
        let proxy = between("http://198.51.100.7/", &variables).unwrap();
        assert_eq!(
            proxy.to_string(),
            "the proxy http://192.0.2.1:3128 that HTTP_PROXY names"
        );
    }
}
