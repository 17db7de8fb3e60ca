use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tables");

const ROWS: [&str; 3] = [
    r#"{"instruction":"a","output":"b]"}"#,
    r#"{"instruction":"c \" {","output":"d"}"#,
    r#"{"instruction":"中","output":"文"}"#,
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Every row with its line, or what ended reading.
fn rows(bytes: &[u8], unpacked: u64) -> Result<Vec<(usize, String)>, String> {
    let file = on_disk(bytes);
    let reader = RowReader::open(file.path(), unpacked).map_err(|fault| fault.to_string())?;
    reader
        .map(|line| {
            let line = line.map_err(|fault| fault.to_string())?;
            let text = match line.text {
                Ok(text) => String::from_utf8(text).unwrap(),
                Err(why) => why,
            };
            Ok((line.line, text))
        })
        .collect()
}

#[test]
fn the_same_rows_come_of_lines_and_arrays_compressed_or_not() {
    let lines = ROWS.join("\n");
    let array = format!("[\n{}\n]", ROWS.join(",\n"));
    let wanted = |first: usize| -> Vec<(usize, String)> {
        let rows = ROWS.iter().zip(first..);
        rows.map(|(row, line)| (line, (*row).to_owned())).collect()
    };
    for (text, first) in [(&lines, 1), (&array, 2)] {
        let packed = gzip(text.as_bytes());
        assert_eq!(rows(text.as_bytes(), 0), Ok(wanted(first)));
        assert_eq!(rows(&packed, 1 << 20), Ok(wanted(first)));
    }
    let members = [
        gzip(ROWS[0].as_bytes()),
        gzip(b"\n"),
        gzip(ROWS[1].as_bytes()),
    ]
    .concat();
    assert_eq!(rows(&members, 1 << 20).unwrap(), wanted(1)[..2]);
}

#[test]
fn offsets_find_the_rows_again() {
    for text in [
        format!("\u{feff}\n \n{}\r\n\n{}\n{}", ROWS[0], ROWS[1], ROWS[2]),
        format!(" [ {}\n ,{},\n\n{} ] ", ROWS[0], ROWS[1], ROWS[2]),
    ] {
        let lines: Vec<Line> = RowReader::of_bytes(text.as_bytes())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(lines.len(), 3);
        for (line, row) in lines.iter().zip(ROWS) {
            let at = line.offset as usize;
            let found = &text.as_bytes()[at..at + line.len()];
            assert_eq!(Ok(found), line.text.as_deref());
            assert_eq!(found.trim_ascii(), row.as_bytes());
        }
    }
}

#[test]
fn an_element_that_cannot_be_read_does_not_hide_those_behind_it() {
    let text = format!("[{},\n{{\"a\" 1}},\n{}]", ROWS[0], ROWS[1]);
    let read = |text: &str| -> Vec<bool> {
        let reader = RowReader::of_bytes(text.as_bytes()).unwrap();
        reader.map(|line| line.unwrap().read().is_ok()).collect()
    };
    assert_eq!(read(&text), [true, false, true]);
    // Where it ends is not known here.
    let text = format!("[{},\n{{\"a\": [1}},\n{}]", ROWS[0], ROWS[1]);
    assert_eq!(read(&text), [true, false]);
}

#[test]
fn a_row_of_any_length_is_passed_over_in_bounded_memory() {
    let long = format!(r#"{{"output":"{}"}}"#, "x".repeat(LONGEST_ROW));
    for (text, second) in [
        (format!("{long}\n{}", ROWS[0]), 2),
        (format!("[{long},\n{}]", ROWS[0]), 2),
    ] {
        let found = rows(text.as_bytes(), 0).unwrap();
        assert_eq!(found[0], (1, "has more than 16 MiB".to_owned()));
        assert_eq!(found[1], (second, ROWS[0].to_owned()));
    }
}

#[test]
fn compressed_files_that_are_cut_off_damaged_or_bombs_are_named() {
    let text = ROWS.join("\n").repeat(1000);
    let packed = gzip(text.as_bytes());
    let of = |bytes: &[u8], limit| rows(bytes, limit).unwrap_err();
    assert!(of(&packed[..packed.len() / 2], 1 << 20).contains("cut off"));
    let mut damaged = packed.clone();
    // Of the sum over what it unpacks to.
    let sum = damaged.len() - 8;
    damaged[sum] ^= 0xff;
    assert!(of(&damaged, 1 << 20).contains("damaged"));
    let most = text.len() as u64;
    assert!(rows(&packed, most).is_ok());
    assert_eq!(
        of(&packed, most - 1),
        format!("unpacks to more than {} bytes", most - 1)
    );
}

#[test]
fn other_kinds_of_files_are_called_by_their_names() {
    for (bytes, what) in [
        (&b"PK\x03\x04rest"[..], "zip"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (&gzip(&gzip(b"{}")), "gzip within gzip"),
        (&gzip(b"PAR1"), "Parquet within gzip"),
    ] {
        assert!(rows(bytes, 1 << 20).unwrap_err().contains(what), "{what}");
    }
}

/// Written by pyarrow (`tests/golden/make_tables.py`).
#[test]
fn the_rows_of_parquet_files_are_those_that_were_written() {
    let folder = Path::new(TABLES);
    let wanted = std::fs::read_to_string(folder.join("rows.jsonl")).unwrap();
    let wanted: Vec<serde_json::Value> = wanted
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    for name in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let file = folder.join(format!("{name}.parquet"));
        let lines = RowReader::open(&file, 1 << 20).unwrap();
        let found: Vec<(usize, serde_json::Value)> = lines
            .map(|line| {
                let line = line.unwrap();
                let text = line.text.unwrap();
                (line.line, serde_json::from_slice(&text).unwrap())
            })
            .collect();
        let numbered: Vec<_> = (1..).zip(wanted.iter().cloned()).collect();
        assert_eq!(found, numbered, "{name}");
        let mut bounded = RowReader::open(&file, 16).unwrap();
        let beyond = bounded.find_map(Result::err);
        assert!(matches!(beyond, Some(ReadFault::TooLarge { limit: 16 })));
    }
}

#[test]
fn a_compression_that_is_not_read_is_named_with_its_column() {
    let whole = std::fs::read(Path::new(TABLES).join("brotli.parquet")).unwrap();
    let refused = rows(&whole, 0).unwrap_err();
    assert!(
        refused.contains("BROTLI") && refused.contains("column `"),
        "{refused}"
    );
}

#[test]
fn a_parquet_file_that_is_cut_off_or_damaged_is_refused() {
    let whole = std::fs::read(Path::new(TABLES).join("snappy.parquet")).unwrap();
    let cut = rows(&whole[..whole.len() - 9], 0);
    assert!(cut.unwrap_err().contains("Parquet that cannot be read"));
    for at in (4..whole.len() - 8).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        // Whatever comes of it, it is rows or a fault.
        drop(rows(&damaged, 0));
    }
}
