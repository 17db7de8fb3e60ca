use flate2::write::GzEncoder;

use super::*;
use crate::domain::Objective;
use crate::text::{ChatTemplate, Tokenizer};
use crate::trainer::data::{Chosen, Example, Examples, parse};

fn voice() -> Voice {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/qwen2");
    Voice {
        tokenizer: Tokenizer::from_folder(&folder).unwrap(),
        template: ChatTemplate::from_folder(&folder).unwrap().at(0),
        max_seq: 128,
        objective: Objective::Sft,
        label: None,
    }
}

fn text(rows: usize) -> String {
    let row = |at: usize| {
        format!(
            "{{\"instruction\":\"Row {at}\",\"output\":\"{}\",\"source\":\"x\"}}\n",
            at * at
        )
    };
    (0..rows).map(row).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn write(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("upload");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn scan(path: &Path, folder: Option<&Path>, voice: &Voice) -> Result<Scanned, Reason> {
    let scan = Scan {
        path,
        field: "training_file",
        voice,
        digest: "digest",
        folder,
        unpacked: 1 << 20,
        go_on: &|| true,
    };
    scan.run()
}

fn all(stock: Stock) -> Vec<Example> {
    let chosen = Chosen::all(stock);
    let numbers = 0..chosen.len();
    numbers
        .map(|at| (*chosen.get(at).unwrap()).clone())
        .collect()
}

fn in_memory(text: &str, voice: &Voice) -> Vec<Example> {
    let parsed = parse(text.as_bytes());
    voice.renderer().examples(&parsed.rows).unwrap().0
}

#[test]
fn rows_on_disk_are_those_of_the_file_whatever_its_format() {
    let (voice, text) = (voice(), text(3000));
    let wanted = in_memory(&text, &voice);
    let array = format!("[{}]", text.trim_end().replace('\n', ",\n"));
    for bytes in [text.clone().into_bytes(), array.into_bytes(), gzip(&text)] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let path = write(home.path(), &bytes);
        let spools = bytes.starts_with(b"\x1f\x8b");
        for (time, folder) in [(0, None), (0, Some(&*data)), (1, Some(&*data))] {
            let scanned = scan(&path, folder, &voice).unwrap();
            let told = ["`source` is not used (3,000 rows)"];
            assert_eq!(scanned.warnings, told[time..]);
            assert_eq!(scanned.spooled > 0, spools && time == 0);
            let found = all(scanned.stock);
            assert!(found == wanted);
        }
        assert_eq!(data.join("training_file.rows").exists(), spools);
    }
}

#[test]
fn what_was_written_down_is_used_only_where_it_is_whole_and_of_the_same_job() {
    let (mut voice, text) = (voice(), text(50));
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), &gzip(&text));
    let wanted = in_memory(&text, &voice);
    let again = |voice: &Voice| {
        let scanned = scan(&path, Some(home.path()), voice).unwrap();
        let anew = scanned.spooled > 0;
        assert!(all(scanned.stock) == wanted);
        anew
    };
    assert!(again(&voice));
    assert!(!again(&voice));
    voice.max_seq += 1;
    assert!(again(&voice));
    for name in ["training_file.rows", "training_file.index"] {
        let place = home.path().join(name);
        let mut bytes = std::fs::read(&place).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&place, &bytes).unwrap();
        assert!(again(&voice), "{name}");
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&place, &bytes).unwrap();
        assert!(again(&voice), "{name}");
        std::fs::remove_file(&place).unwrap();
        assert!(again(&voice), "{name}");
        assert!(!again(&voice));
    }
}

#[test]
fn rows_that_cannot_be_used_are_counted_and_the_first_are_told() {
    let mut lines: Vec<String> = text(4000).lines().map(str::to_owned).collect();
    for line in (99..4000).step_by(100) {
        lines[line] = match line % 200 {
            99 => "{\"instruction\":\"x\"}".into(),
            _ => format!(
                "{{\"instruction\":\"x\",\"output\":\"{}\"}}",
                "long ".repeat(300)
            ),
        };
    }
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), lines.join("\n").as_bytes());
    let refused = scan(&path, Some(home.path()), &voice()).err().unwrap();
    let Reason::BadRows { file, first, total } = refused else {
        panic!("{refused}")
    };
    assert_eq!((file, total), ("training_file", 40));
    let lines: Vec<usize> = first.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, (1..=20).map(|at| at * 100).collect::<Vec<_>>());
    assert!(first[1].why.contains("max_seq is 128"), "{}", first[1].why);
}

#[test]
fn a_file_that_is_no_file_of_rows_is_refused_by_its_field() {
    let home = tempfile::tempdir().unwrap();
    let whole = gzip(&text(100));
    let large = gzip(&" ".repeat(2 << 20));
    for (bytes, why) in [
        (&whole[..whole.len() / 2], "cut off"),
        (b" \n ", "has no rows"),
        (&large, "unpacks to more than 1048576 bytes"),
        (b"PK\x03\x04", "zip"),
    ] {
        let path = write(home.path(), bytes);
        let refused = scan(&path, None, &voice()).err().unwrap();
        let told = refused.to_string();
        assert!(matches!(refused, Reason::BadField { field, .. } if field == "training_file"));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_scan_ends_when_it_is_told_to() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), text(10).as_bytes());
    let voice = voice();
    let scan = Scan {
        path: &path,
        field: "training_file",
        voice: &voice,
        digest: "",
        folder: None,
        unpacked: 0,
        go_on: &|| false,
    };
    assert_eq!(scan.run().err(), Some(Reason::Draining));
}

#[test]
fn held_out_rows_and_the_others_are_all_rows() {
    let (voice, text) = (voice(), text(40));
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), text.as_bytes());
    for held_out in [vec![], vec![0], vec![0, 1, 7, 8, 39], vec![38, 39]] {
        let stock = scan(&path, None, &voice).unwrap().stock;
        let [train, rest] = Chosen::split(stock, held_out.clone());
        let lines = |chosen: &Chosen| -> Vec<u32> {
            let rows = (0..chosen.len()).map(|at| chosen.get(at).unwrap().line as u32 - 1);
            rows.collect()
        };
        assert_eq!(lines(&rest), held_out);
        let kept: Vec<u32> = (0..40).filter(|row| !held_out.contains(row)).collect();
        assert_eq!(lines(&train), kept);
    }
}
