//! Jobs on files of other forms than plain lines.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn rows() -> String {
    let row = |at: usize| {
        format!(
            "{{\"instruction\":\"Write the number {at} in brackets.\",\"output\":\"[{at}]\"}}\n"
        )
    };
    (0..40).map(row).collect()
}

fn wishes() -> Wishes {
    Wishes {
        rank: Some(4),
        steps: Some(9),
        batch_size: Some(4),
        save_every: Some(3),
        eval_split: Some(3.0),
        ..Wishes::default()
    }
}

impl Shop {
    async fn compressed(&self, text: &str) -> FileId {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let bytes = encoder.finish().unwrap();
        let put = self
            .trainer
            .put_file("rows.jsonl.gz", "fine-tune", bytes.into());
        put.await.unwrap().id
    }

    /// The names in the folder of jobs.
    fn folders(&self) -> Vec<String> {
        let jobs = std::fs::read_dir(self.folder.path().join("training/jobs")).unwrap();
        let names = jobs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

#[tokio::test]
async fn a_compressed_file_trains_as_it_would_plain_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    let (plain, packed) = (shop.file(&rows()).await, shop.compressed(&rows()).await);
    let plain = shop.create("plain", &plain, wishes()).await.unwrap();
    let packed = shop.create("packed", &packed, wishes()).await.unwrap();
    let events = shop.trainer.events(&packed.id, None, 100).await.unwrap();
    let told = events
        .items
        .iter()
        .any(|event| event.message.starts_with("unpacked to "));
    assert!(told, "what it takes on disk is told");
    for job in [&plain, &packed] {
        shop.until(&job.id, JobStatus::Succeeded).await;
    }
    assert_eq!(shop.losses(&plain.id).await, shop.losses(&packed.id).await);
    while !shop.folders().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_known_of_the_rows_is_found_out_again_where_it_is_damaged() {
    let shop = Shop::open().await;
    let (plain, packed) = (shop.file(&rows()).await, shop.compressed(&rows()).await);
    let plain = shop.create("plain", &plain, wishes()).await.unwrap();
    let packed = shop.create("packed", &packed, wishes()).await.unwrap();
    shop.trainer.pause(&packed.id).await.unwrap();
    let data = { shop.folder.path() }
        .join("training/jobs")
        .join(packed.id.as_str())
        .join("data");
    for name in ["training_file.index", "training_file.rows"] {
        let mut bytes = std::fs::read(data.join(name)).unwrap();
        bytes[5] ^= 1;
        std::fs::write(data.join(name), bytes).unwrap();
    }
    shop.trainer.resume(&packed.id).await.unwrap();
    for job in [&plain, &packed] {
        shop.until(&job.id, JobStatus::Succeeded).await;
    }
    assert_eq!(shop.losses(&plain.id).await, shop.losses(&packed.id).await);
}

#[tokio::test]
async fn a_job_that_is_refused_leaves_no_folder() {
    let shop = Shop::open().await;
    for text in [format!("{}{{}}", rows()), "{".into()] {
        for file in [shop.file(&text).await, shop.compressed(&text).await] {
            let refused = shop.create("bad", &file, wishes()).await;
            assert!(
                matches!(refused, Err(Reason::BadRows { .. })),
                "{refused:?}"
            );
        }
    }
    let large = shop.compressed(&" ".repeat((1 << 20) + 1)).await;
    let refused = shop.create("large", &large, wishes()).await.unwrap_err();
    assert!(
        refused.to_string().contains("unpacks to more than"),
        "{refused}"
    );
    assert!(shop.folders().is_empty());
}
