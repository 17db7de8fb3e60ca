//! Uploaded files: how they come, how long they stay, and whose they are.

use super::*;

#[tokio::test]
async fn a_file_stays_while_an_unfinished_job_needs_it() {
    let home = Home::new().await;
    let file = home.file().await;
    let id = home.job("a", &file).await;
    let refused = home.uploads.delete(&file, &Actor::system()).await;
    assert!(matches!(refused, Err(Reason::WrongState(_))), "{refused:?}");
    home.jobs
        .cancel(&id, &event(), &Actor::system())
        .await
        .unwrap();
    home.uploads.delete(&file, &Actor::system()).await.unwrap();
    let gone = home.uploads.verified(&file).await;
    assert!(matches!(gone, Err(Reason::NoSuchFile(_))), "{gone:?}");
    let created = home
        .jobs
        .create(
            &new_job("b", &file),
            &[],
            &KeyLimits::default(),
            &Actor::system(),
        )
        .await;
    assert_eq!(created, Ok(None), "a job of a file that is gone");
}

#[tokio::test]
async fn an_upload_is_verified_and_leftovers_go_at_the_start() {
    let home = Home::new().await;
    let file = home.file().await;
    let files = home.folder.path().join("files");
    std::fs::write(files.join(".half.part"), "x").unwrap();
    std::fs::create_dir(files.join("folder")).unwrap();
    let home = Home::at(home.folder).await;
    let left = std::fs::read_dir(&files).unwrap().count();
    assert_eq!(left, 1);
    let whole = home.uploads.verified(&file).await.unwrap();
    assert_eq!(std::fs::read(whole.path).unwrap(), b"abc");
    std::fs::write(files.join(file.as_str()), "abd").unwrap();
    let damaged = home.uploads.verified(&file).await;
    assert!(matches!(damaged, Err(Reason::Storage(_))), "{damaged:?}");
}

#[tokio::test]
async fn an_upload_comes_in_pieces_and_leaves_nothing_where_it_does_not_end() {
    let home = Home::new().await;
    let files = || {
        let folder = std::fs::read_dir(home.folder.path().join("files"));
        folder.unwrap().count()
    };
    let mut incoming = home
        .uploads
        .receive("b.jsonl", &Asker::default())
        .await
        .unwrap();
    for piece in ["one ", "two ", "three"] {
        incoming.write(piece.into()).await.unwrap();
    }
    assert_eq!(files(), 1);
    let view = incoming.finish("fine-tune").await.unwrap();
    assert_eq!((view.bytes, view.filename.as_str()), (13, "b.jsonl"));
    let stored = home.uploads.verified(&view.id).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), b"one two three");

    let mut given_up = home
        .uploads
        .receive("c.jsonl", &Asker::default())
        .await
        .unwrap();
    given_up.write("half".into()).await.unwrap();
    let mut large = home
        .uploads
        .receive("d.jsonl", &Asker::default())
        .await
        .unwrap();
    large.write(vec![0; 60].into()).await.unwrap();
    let refused = large.write(vec![0; 5].into()).await;
    assert!(
        matches!(refused, Err(Reason::TooLarge { limit: 64 })),
        "{refused:?}"
    );
    drop((given_up, large));
    assert_eq!(files(), 1);
}

#[tokio::test]
async fn what_a_key_made_is_listed_for_it_and_for_who_sees_all() {
    let home = Home::new().await;
    let asker = |id: &str| Asker {
        key: Some(KeyId::new(id)),
        only_own: true,
        ..Asker::default()
    };
    let mut of_one = home
        .uploads
        .receive("a.jsonl", &asker("one"))
        .await
        .unwrap();
    of_one.write("abc".into()).await.unwrap();
    let of_one = of_one.finish("fine-tune").await.unwrap();
    let of_nobody = home.file().await;
    let listed = async |asker: Asker| -> Vec<FileId> {
        let page = home.uploads.list(&asker, None, 9).await.unwrap();
        page.items.into_iter().map(|file| file.id).collect()
    };
    assert_eq!(listed(asker("one")).await, std::slice::from_ref(&of_one.id));
    assert_eq!(listed(asker("two")).await, []);
    assert_eq!(listed(Asker::default()).await, [of_nobody, of_one.id]);
}
