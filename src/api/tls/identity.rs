//! What a caller's certificate calls it. The certificate has been verified: here it is only read.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Its alternative names that are URIs or DNS names. Its common name counts where it has no alternative name at all, and
/// never where it reads as a URI: whoever signs alternative names with care may not look at a common name.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let alternatives = match read.subject_alternative_name() {
        Ok(found) => found,
        // Two such extensions, or one that cannot be read: nothing it says is taken.
        Err(_) => return Vec::new(),
    };
    match alternatives {
        Some(alternatives) => {
            let names = alternatives.value.general_names.iter();
            names.filter_map(alternative).collect()
        }
        None => {
            let mut common = read.subject().iter_common_name();
            match (common.next().map(|name| name.as_str()), common.next()) {
                (Some(Ok(name)), None) if !name.contains([':', '/']) => vec![name.to_owned()],
                _ => Vec::new(),
            }
        }
    }
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        // Names of hosts mean the same in either case.
        GeneralName::DNSName(host) if !host.contains([':', '/']) => Some(host.to_ascii_lowercase()),
        _ => None,
    }
}
