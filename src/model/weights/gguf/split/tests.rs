use std::collections::BTreeMap;

use super::super::{Gguf, Line, Table, layout};
use super::*;
use crate::model::weights::{Quant, Source};

fn golden() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden/gguf/llama-q8_0.gguf")
}

fn int(value: u16) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    bytes.extend(value.to_le_bytes());
    bytes
}

/// The golden model in three pieces, the first without tensors; `change` may make a piece's metadata wrong.
fn pieces(dir: &Path, change: impl Fn(u16, &mut BTreeMap<String, Vec<u8>>)) -> [PathBuf; 3] {
    let whole = Gguf::open(&golden(), Quant::AsStored).unwrap();
    let table = whole.table();
    let half = table.len() / 2;
    let parts = [&table[..0], &table[..half], &table[half..]];
    [0, 1, 2].map(|number: u16| {
        let part = parts[usize::from(number)];
        let mut metadata = match number {
            0 => whole.metadata_bytes(),
            _ => BTreeMap::new(),
        };
        metadata.insert(NUMBER.into(), int(number));
        metadata.insert(COUNT.into(), int(3));
        metadata.insert(TENSORS.into(), int(table.len() as u16));
        change(number, &mut metadata);
        let line = |(name, (shape, format), _): &(String, (Vec<usize>, _), &[u8])| Line {
            name: name.clone(),
            shape: shape.clone(),
            format: *format,
        };
        let alignment = whole.alignment();
        let mut bytes = layout(&Table {
            metadata,
            lines: part.iter().map(line).collect(),
            alignment,
        });
        for (_, _, tensor) in part {
            bytes.extend_from_slice(tensor);
            bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        }
        let path = dir.join(format!("tiny-{:05}-of-00003.gguf", number + 1));
        std::fs::write(&path, bytes).unwrap();
        path
    })
}

fn refused(path: &Path) -> String {
    match Gguf::open(path, Quant::AsStored) {
        Ok(_) => panic!("{} was taken", path.display()),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn any_piece_leads_to_the_model_that_one_file_would_be() {
    let dir = tempfile::tempdir().unwrap();
    let paths = pieces(dir.path(), |_, _| {});
    let mut whole = Gguf::open(&golden(), Quant::AsStored).unwrap();
    let mut digests = Vec::new();
    for path in &paths {
        let mut split = Gguf::open(path, Quant::AsStored).unwrap();
        assert_eq!(split.table(), whole.table());
        assert_eq!(split.metadata_bytes(), whole.metadata_bytes());
        for name in [
            "model.embed_tokens.weight",
            "model.layers.1.mlp.down_proj.weight",
        ] {
            let rows = |file: &mut Gguf| file.matrix(name).unwrap().rows(0..4).unwrap();
            assert_eq!(rows(&mut split), rows(&mut whole), "{name}");
        }
        digests.push(split.digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn a_missing_piece_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two, three] = pieces(dir.path(), |_, _| {});
    std::fs::remove_file(&two).unwrap();
    for path in [&one, &three] {
        let told = refused(path);
        assert!(
            told.contains("tiny-00002-of-00003.gguf: is missing: it is piece 2 of 3"),
            "{told}"
        );
    }
}

#[test]
fn pieces_that_do_not_belong_together_are_refused() {
    type Change = fn(u16, &mut BTreeMap<String, Vec<u8>>);
    let cases: [(&str, Change, &str); 5] = [
        (
            "number",
            |at, said| drop((at == 1).then(|| said.insert(NUMBER.into(), int(2)))),
            "is piece 2",
        ),
        (
            "count",
            |at, said| drop((at == 2).then(|| said.insert(COUNT.into(), int(4)))),
            "one of 3 pieces",
        ),
        (
            "none",
            |at, said| drop((at == 2).then(|| said.remove(COUNT))),
            "one of 3 pieces",
        ),
        (
            "tensors",
            |_, said| drop(said.insert(TENSORS.into(), int(3))),
            "has 3 tensors; its 3 pieces have",
        ),
        (
            "other",
            |at, said| drop((at == 1).then(|| said.insert(TENSORS.into(), int(3)))),
            "where piece 1 says",
        ),
    ];
    for (name, change, why) in cases {
        let dir = tempfile::tempdir().unwrap();
        let [first, ..] = pieces(dir.path(), change);
        let told = refused(&first);
        assert!(told.contains(why), "{name}: {told}");
    }
}

#[test]
fn a_piece_under_another_name_says_how_it_has_to_be_called() {
    let dir = tempfile::tempdir().unwrap();
    let [first, ..] = pieces(dir.path(), |_, _| {});
    let other = dir.path().join("model.gguf");
    std::fs::rename(first, &other).unwrap();
    let told = refused(&other);
    assert!(told.contains("NAME-00001-of-00003.gguf"), "{told}");
}

#[test]
fn a_name_tells_the_place_among_the_pieces() {
    let named = |name: &str| Named::of(Path::new(name)).map(|n| (n.stem, n.number, n.count));
    let place = Some(("a-b".to_owned(), 2, 12));
    assert_eq!(named("/x/a-b-00002-of-00012.gguf"), place);
    for other in [
        "a.gguf",
        "a-2-of-3.gguf",
        "a-00004-of-00003.gguf",
        "a-00000-of-00003.gguf",
        "a-00001-of-00003.bin",
    ] {
        assert_eq!(named(other), None, "{other}");
    }
}
