use std::time::{Duration, Instant};

use super::*;
use crate::domain::{AdapterGlobs, KeyLimits};
use crate::store::Replaced;

async fn keys() -> (Keys, Database, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("state.db")).await.unwrap();
    (Keys::open(database.clone()).await.unwrap(), database, dir)
}

fn ask(name: &str) -> KeyAsk {
    KeyAsk {
        name: name.into(),
        scopes: "infer".parse().unwrap(),
        adapters: AdapterGlobs::default(),
        weight: None,
        expires_in: None,
        limits: KeyLimits::default(),
        identity: None,
    }
}

fn lets_in(keys: &Keys, text: &str) -> Result<KeyId, Reason> {
    keys.look(text).map(|pass| pass.key().id.clone())
}

#[tokio::test]
async fn a_key_lets_in_who_knows_all_of_it_and_its_text_is_nowhere_stored() {
    let (keys, database, _dir) = keys().await;
    let issued = keys.create(ask("me")).await.unwrap();
    assert_eq!(lets_in(&keys, &issued.secret), Ok(issued.key.id.clone()));
    let (front, last) = issued.secret.split_at(issued.secret.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    for wrong in [
        String::new(),
        format!("{front}{other}"),
        front.to_owned(),
        format!("{}0", issued.secret),
        issued.secret.to_uppercase(),
        key_text(&KeyId::new("000000000000"), "00"),
    ] {
        assert_eq!(
            lets_in(&keys, &wrong),
            Err(Reason::UnknownKey(Scope::Infer)),
            "{wrong}"
        );
    }
    let secret = issued.secret.rsplit('-').next().unwrap();
    let stored: Vec<String> = database
        .select("SELECT hex(digest) || name || scopes || adapters || id FROM keys")
        .await;
    assert!(!stored[0].to_lowercase().contains(secret));
}

#[tokio::test]
async fn keys_are_the_same_after_a_restart_and_a_digest_means_nothing_elsewhere() {
    let (keys, database, _dir) = keys().await;
    let issued = keys.create(ask("me")).await.unwrap();
    let again = Keys::open(database).await.unwrap();
    assert_eq!(again.list(), keys.list());
    assert_eq!(lets_in(&again, &issued.secret), Ok(issued.key.id));
    let (elsewhere, ..) = self::keys().await;
    let (here, there) = (&keys.inner.stored, &elsewhere.inner.stored);
    assert_ne!(here.digest(&issued.secret), there.digest(&issued.secret));
}

#[tokio::test]
async fn a_revoked_key_ends_at_once_also_for_who_was_let_in_before() {
    let (keys, _, _dir) = keys().await;
    let issued = keys.create(ask("me")).await.unwrap();
    let pass = keys.look(&issued.secret).unwrap();
    assert_eq!(pass.check(), Ok(()));
    let revoked = keys.revoke(&issued.key.id).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    let ended = Err(Reason::KeyEnded("was revoked", Scope::Infer));
    assert_eq!(pass.check(), ended);
    assert_eq!(
        lets_in(&keys, &issued.secret),
        ended.map(|()| issued.key.id.clone())
    );
    let told = tokio::time::timeout(Duration::from_secs(1), pass.ended()).await;
    assert_eq!(told, Ok(Reason::KeyEnded("was revoked", Scope::Infer)));
    let again = keys.rotate(&issued.key.id, 0).await;
    assert!(matches!(again, Err(Reason::WrongState(_))), "{again:?}");
    let nobody = keys.revoke(&KeyId::new("nobody")).await;
    assert_eq!(nobody, Err(Reason::NoSuchKey("nobody".into())));
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_until_the_overlap_is_over() {
    let (keys, _, _dir) = keys().await;
    let first = keys.create(ask("me")).await.unwrap();
    let second = keys.rotate(&first.key.id, 60).await.unwrap();
    assert_eq!(second.key.id, first.key.id);
    assert!(lets_in(&keys, &first.secret).is_ok() && lets_in(&keys, &second.secret).is_ok());
    let third = keys.rotate(&first.key.id, 0).await.unwrap();
    let replaced = Err(Reason::KeyEnded(
        "was replaced by a new secret",
        Scope::Infer,
    ));
    assert_eq!(lets_in(&keys, &second.secret), replaced);
    assert_eq!(
        lets_in(&keys, &first.secret),
        Err(Reason::UnknownKey(Scope::Infer))
    );
    assert!(lets_in(&keys, &third.secret).is_ok());
}

#[tokio::test]
async fn what_a_key_can_not_be_is_refused_with_the_field() {
    let (keys, _, _dir) = keys().await;
    for (wrong, field) in [
        (ask(" "), "name"),
        (ask("a\nb"), "name"),
        (
            KeyAsk {
                weight: Some(0.0),
                ..ask("me")
            },
            "weight",
        ),
        (
            KeyAsk {
                expires_in: Some(0),
                ..ask("me")
            },
            "expires_in",
        ),
        (
            KeyAsk {
                expires_in: Some(u64::MAX),
                ..ask("me")
            },
            "expires_in",
        ),
    ] {
        let refused = keys.create(wrong).await;
        assert!(
            matches!(&refused, Err(Reason::BadField { field: at, .. }) if at == field),
            "{field}: {refused:?}"
        );
    }
    assert!(keys.is_empty());
}

#[tokio::test]
async fn a_first_key_of_another_process_is_found() {
    let (keys, database, _dir) = keys().await;
    let other = Keys::open(database).await.unwrap();
    let issued = other.create(ask("me")).await.unwrap();
    assert!(keys.find(&issued.secret).await.is_ok());
}

#[tokio::test]
async fn when_a_key_was_used_is_stored() {
    let (keys, database, _dir) = keys().await;
    let issued = keys.create(ask("me")).await.unwrap();
    lets_in(&keys, &issued.secret).unwrap();
    keys.clone().keep_uses(futures::stream::empty()).await;
    let again = Keys::open(database).await.unwrap();
    assert!(again.list()[0].last_used_at.is_some());
}

#[tokio::test]
async fn ten_thousand_keys_are_read_at_the_start_and_found_without_a_disk() {
    let (keys, database, _dir) = keys().await;
    let issued = keys.create(ask("me")).await.unwrap();
    let many = "INSERT INTO keys (id, name, scopes, adapters, digest, created_at) \
        WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000) \
        SELECT printf('k%d', x), 'k', 'infer', 'legal,team-*', zeroblob(32), 0 FROM n";
    database.execute(many).await;
    let began = Instant::now();
    let again = Keys::open(database.clone()).await.unwrap();
    let opened = began.elapsed();
    assert_eq!(again.list().len(), 10_001);
    database.close().await;
    let began = Instant::now();
    for _ in 0..1000 {
        again.look(&issued.secret).unwrap().check().unwrap();
    }
    // Far more than either takes, as machines are busy.
    let each = began.elapsed() / 1000;
    assert!(opened < Duration::from_secs(5), "{opened:?}");
    assert!(each < Duration::from_micros(200), "{each:?}");
}

#[test]
fn a_key_counts_until_the_second_it_expires() {
    let hash = blake3::hash(b"x");
    let mut row = KeyRow {
        view: KeyView {
            id: KeyId::new("1"),
            object: "key".into(),
            name: "me".into(),
            scopes: "infer".parse().unwrap(),
            adapters: AdapterGlobs::default(),
            weight: None,
            identity: None,
            limits: KeyLimits::default(),
            created_at: 0,
            expires_at: Some(10),
            revoked_at: None,
            last_used_at: None,
        },
        digest: hash,
        replaced: None,
    };
    let expired = Err(Reason::KeyEnded("has expired", Scope::Infer));
    assert_eq!(judge(&row, &hash, 9), Ok(()));
    assert_eq!(judge(&row, &hash, 10), expired);
    let before = blake3::hash(b"before");
    assert_eq!(
        judge(&row, &before, 9),
        Err(Reason::UnknownKey(Scope::Infer))
    );
    row.replaced = Some(Replaced {
        digest: before,
        until: 5,
    });
    assert_eq!(judge(&row, &before, 4), Ok(()));
    let replaced = Err(Reason::KeyEnded(
        "was replaced by a new secret",
        Scope::Infer,
    ));
    assert_eq!(judge(&row, &before, 5), replaced);
    assert_eq!(
        judge(&row, &before, 10),
        expired,
        "its overlap does not outlive it"
    );
}
