//! Where a collector is, and what it is told besides.

use std::time::Duration;

use anyhow::{anyhow, bail};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// What a collector asks for beside a message, as a key; a secret, so no setting.
pub const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// What tells this process from others.
pub const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

const CONNECTING: Duration = Duration::from_secs(5);

pub struct Target {
    /// Connects when it is first used, and again whenever it must.
    pub channel: Channel,
    pub headers: MetadataMap,
}

impl Target {
    /// Must be called on a runtime. Connects nowhere yet.
    pub fn new(address: &str, headers: Option<&str>) -> anyhow::Result<Self> {
        let wrong = |error| anyhow!("telemetry.otlp: {address}: {error}");
        let mut endpoint = Endpoint::from_shared(address.to_owned()).map_err(wrong)?;
        if address.starts_with("https://") {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(wrong)?;
        }
        let channel = endpoint.connect_timeout(CONNECTING).connect_lazy();
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs(HEADERS, headers.unwrap_or_default())? {
            // What a header is worth is not shown.
            let name = MetadataKey::<Ascii>::from_bytes(name.to_lowercase().as_bytes())
                .map_err(|_| anyhow!("{HEADERS}: `{name}` is no name of a header"))?;
            let value = MetadataValue::try_from(value.as_str())
                .map_err(|_| anyhow!("{HEADERS}: the value of `{name}` is no header's"))?;
            metadata.append(name, value);
        }
        Ok(Self {
            channel,
            headers: metadata,
        })
    }
}

/// `name=value,…`, with `%` before hexadecimal digits of what could be taken for a part of it.
pub fn pairs(variable: &str, text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim);
    let mut pairs = Vec::new();
    for (at, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
        let pair = entry.split_once('=');
        let pair = pair.map(|(name, value)| (name.trim(), plain(value.trim())));
        match pair {
            Some((name, Some(value))) if !name.is_empty() => pairs.push((name.to_owned(), value)),
            _ => bail!("{variable}: entry {} is no `name=value`", at + 1),
        }
    }
    Ok(pairs)
}

fn plain(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_or_refused_without_showing_them() {
        let read = |text: &str| pairs("VARIABLE", text).map_err(|error| error.to_string());
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(" ,"), Ok(Vec::new()));
        assert_eq!(
            read("a=1, b = x%2Cy%20=z ,"),
            Ok(vec![owned("a", "1"), owned("b", "x,y =z")])
        );
        for wrong in [
            "secret",
            "a=1,=secret",
            "a=1,b=secret%2",
            "a=1,b=%zz",
            "a=1,b=%ff",
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("VARIABLE: entry ") && !error.contains("secret"));
        }
    }

    #[tokio::test]
    async fn a_header_that_is_none_is_an_error_by_its_name() {
        let of = |headers| {
            let target = Target::new("http://127.0.0.1:4317", Some(headers));
            target.map(|target| target.headers.len())
        };
        assert_eq!(of("X-Key=secret,b=2").unwrap(), 2);
        for wrong in ["a b=secret", "x-key=secret%0A"] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with(HEADERS) && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
