use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tempfile::TempDir;

use super::*;

/// A certificate authority and its key.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    (own.pem(), Issuer::new(params, key))
}

/// A certificate and its key, as PEM.
fn pair(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let (_, issuer) = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let made = params.signed_by(&key, &issuer).unwrap();
    (made.pem(), key.serialize_pem())
}

fn files(dir: &TempDir) -> Files {
    Files {
        certificate: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
        client_ca: None,
        client_auth: ClientAuth::Required,
    }
}

fn write(dir: &TempDir, (certificate, key): &(String, String)) {
    std::fs::write(dir.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(dir.path().join("key.pem"), key).unwrap();
}

/// What is said of the files, by the setting it is said of.
fn told(files: Files) -> Vec<(&'static str, String)> {
    let mistakes = Tls::open(files).err().unwrap_or_default().into_iter();
    mistakes.map(|it| (it.what, it.why)).collect()
}

#[test]
fn what_is_wrong_with_each_file_is_told_at_once_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut both = files(&dir);
    both.client_ca = Some(dir.path().join("ca.pem"));
    let names = |found: &[(&'static str, String)]| -> Vec<&'static str> {
        found.iter().map(|(what, _)| *what).collect()
    };
    let found = told(both.clone());
    assert_eq!(names(&found), ["certificate", "key", "client_ca"]);
    assert!(found[0].1.contains("cert.pem") && found[0].1.contains("cannot be read"));
    write(&dir, &("nothing".into(), "nothing".into()));
    std::fs::write(dir.path().join("ca.pem"), "nothing").unwrap();
    let found = told(both);
    assert_eq!(names(&found), ["certificate", "key", "client_ca"]);
    assert!(
        found.iter().all(|(_, why)| why.contains("PEM")),
        "{found:?}"
    );
    write(&dir, &pair(|_| {}));
    assert_eq!(told(files(&dir)), []);
    let (certificate, _) = pair(|_| {});
    std::fs::write(dir.path().join("cert.pem"), certificate).unwrap();
    let found = told(files(&dir));
    assert!(
        found[0].0 == "key" && found[0].1.contains("not the key of"),
        "{found:?}"
    );
    write(
        &dir,
        &pair(|params| params.not_after = date_time_ymd(2020, 1, 1)),
    );
    let found = told(files(&dir));
    assert!(
        found[0].0 == "certificate" && found[0].1.contains("expired"),
        "{found:?}"
    );
    write(
        &dir,
        &pair(|params| params.not_before = date_time_ymd(2900, 1, 1)),
    );
    assert!(told(files(&dir))[0].1.contains("not valid before"));
}

#[test]
fn new_files_are_taken_and_broken_ones_leave_what_was() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, &pair(|_| {}));
    let tls = Tls::open(files(&dir)).unwrap();
    let config = || tls.config(Offer::Http);
    let first = config();
    assert!(tls.reload().is_none(), "nothing has changed");
    assert_eq!(first.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    assert_eq!(tls.config(Offer::Grpc).alpn_protocols, [b"h2"]);
    let (certificate, key) = pair(|params| params.not_after = date_time_ymd(2100, 1, 1));
    std::fs::write(dir.path().join("cert.pem"), &certificate).unwrap();
    assert!(matches!(tls.reload(), Some(Err(_))), "half of the pair");
    assert!(tls.reload().is_none(), "told once");
    assert!(Arc::ptr_eq(&first, &config()));
    std::fs::write(dir.path().join("key.pem"), &key).unwrap();
    assert!(matches!(tls.reload(), Some(Ok(()))));
    assert!(!Arc::ptr_eq(&first, &config()));
    assert_eq!(tls.failures(), 1);
    assert!((365 * 86_400..100 * 366 * 86_400).contains(&tls.expires_in()));
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    assert!(matches!(tls.reload(), Some(Err(_))));
}

#[test]
fn a_certificate_is_called_by_its_alternative_names_or_else_its_common_name() {
    let of = |change: &dyn Fn(&mut CertificateParams)| {
        let (_, issuer) = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        names(params.signed_by(&key, &issuer).unwrap().der())
    };
    let text = |text: &str| Ia5String::try_from(text).unwrap();
    let common = |params: &mut CertificateParams, name: &str| {
        params.distinguished_name.push(DnType::CommonName, name);
    };
    let alternatives = of(&|params| {
        common(params, "admin");
        params.subject_alt_names = vec![
            SanType::URI(text("spiffe://example/Claims")),
            SanType::DnsName(text("Claims.Example")),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
    });
    assert_eq!(alternatives, ["spiffe://example/Claims", "claims.example"]);
    assert_eq!(of(&|params| common(params, "claims")), ["claims"]);
    let uri = of(&|params| common(params, "spiffe://example/claims"));
    assert!(uri.is_empty(), "a common name is no URI: {uri:?}");
}
