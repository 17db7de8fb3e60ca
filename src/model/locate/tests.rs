use super::*;
use crate::model::{Base, KvKind};

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden/gguf").join(name)
}

/// Nothing said, and no home.
const NOWHERE: Surroundings = Surroundings {
    ollama_models: None,
    home: None,
};

fn found(path: &Path) -> Result<Origin, String> {
    locate(path.to_str().unwrap(), &NOWHERE)
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A store with a manifest of these layers at this place; its blob is a GGUF file.
fn store(dir: &Path, place: &str, layers: &[(&str, &str)]) -> PathBuf {
    let manifest = dir.join("manifests").join(place);
    std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    let layers = layers.iter().map(|(kind, digest)| {
        let kind = format!("application/vnd.ollama.image.{kind}");
        serde_json::json!({"mediaType": kind, "digest": digest, "size": 1})
    });
    let text = serde_json::json!({"schemaVersion": 2, "layers": layers.collect::<Vec<_>>()});
    std::fs::write(&manifest, text.to_string()).unwrap();
    std::fs::create_dir_all(dir.join("blobs")).unwrap();
    std::fs::copy(golden("llama-q8_0.gguf"), blob(dir)).unwrap();
    manifest
}

fn blob(dir: &Path) -> PathBuf {
    dir.join("blobs").join(DIGEST.replace(':', "-"))
}

#[test]
fn a_model_of_ollamas_is_found_by_its_name_its_manifest_and_its_blob() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".ollama/models");
    let layers = [("template", DIGEST), ("model", DIGEST), ("params", DIGEST)];
    let manifest = store(&dir, "registry.ollama.ai/library/tiny/3b", &layers);
    let named = |name: &str| Origin::Named {
        name: name.into(),
        path: blob(&dir),
    };
    let at_home = Surroundings {
        ollama_models: None,
        home: Some(home.path().to_owned()),
    };
    let said = Surroundings {
        ollama_models: Some(dir.clone().into()),
        home: None,
    };
    for surroundings in [&at_home, &said] {
        let found = locate("ollama:tiny:3b", surroundings);
        assert_eq!(found, Ok(named("tiny:3b")));
    }
    assert_eq!(found(&manifest), Ok(named("tiny:3b")));
    assert_eq!(found(&blob(&dir)), Ok(Origin::Gguf(blob(&dir))));
    for (place, name, served) in [
        ("registry.ollama.ai/library/small/latest", "small", "small"),
        ("registry.ollama.ai/me/mine/latest", "me/mine", "mine"),
        (
            "hf.co/owner/name-GGUF/Q4_K_M",
            "hf.co/owner/name-GGUF:Q4_K_M",
            "name-GGUF:Q4_K_M",
        ),
    ] {
        store(&dir, place, &layers);
        let found = locate(&format!("ollama:{name}"), &at_home);
        assert_eq!(found, Ok(named(served)), "{name}");
    }
    let base = Base::open(&named("tiny:3b"), None, KvKind::Auto).unwrap();
    assert_eq!(base.name, "tiny:3b");
}

#[test]
fn what_ollamas_store_lacks_or_cannot_say_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = Surroundings {
        ollama_models: Some(dir.path().into()),
        home: None,
    };
    let refused = |name: &str| locate(&format!("ollama:{name}"), &surroundings).unwrap_err();
    assert!(refused("absent").contains("manifests/registry.ollama.ai/library/absent/latest"));
    for wrong in [
        "",
        "../../etc/passwd",
        "a/../b",
        "tiny:",
        "a/b/c/d",
        "tiny:../x",
        "/tiny",
    ] {
        let told = refused(wrong);
        assert!(
            told.contains("is no NAME[:TAG]") || told.contains("too many parts"),
            "{told}"
        );
    }
    let at = |name: &str| format!("registry.ollama.ai/library/{name}/latest");
    for (name, layers, why) in [
        (
            "adapted",
            &[("model", DIGEST), ("adapter", DIGEST)][..],
            "adapter of its own",
        ),
        ("nothing", &[("params", DIGEST)], "names no model"),
        ("leading", &[("model", "sha256:../../../x")], "is no digest"),
    ] {
        store(dir.path(), &at(name), layers);
        assert!(refused(name).contains(why), "{name}: {}", refused(name));
    }
    store(dir.path(), &at("gone"), &[("model", DIGEST)]);
    std::fs::remove_file(blob(dir.path())).unwrap();
    assert!(refused("gone").contains("its model is missing"));
    let homeless = locate("ollama:tiny", &NOWHERE).unwrap_err();
    assert!(homeless.contains("OLLAMA_MODELS"));
}

#[test]
fn a_folder_with_one_model_is_that_model() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("owner/repo");
    std::fs::create_dir_all(&repo).unwrap();
    let put = |name: &str| std::fs::write(repo.join(name), "GGUF").unwrap();
    assert_eq!(found(&repo), Ok(Origin::Folder(repo.clone())));
    put("config.json");
    put("mmproj-model-f16.gguf");
    put("tiny-Q4_K_M.gguf");
    let only = Ok(Origin::Gguf(repo.join("tiny-Q4_K_M.gguf")));
    assert_eq!(found(&repo), only);
    put("tiny-Q8_0-00002-of-00002.gguf");
    put("tiny-Q8_0-00001-of-00002.gguf");
    let told = found(&repo).unwrap_err();
    assert!(
        told.ends_with("name one of tiny-Q4_K_M.gguf, tiny-Q8_0-00001-of-00002.gguf"),
        "{told}"
    );
    std::fs::remove_file(repo.join("tiny-Q4_K_M.gguf")).unwrap();
    let first = Origin::Gguf(repo.join("tiny-Q8_0-00001-of-00002.gguf"));
    assert_eq!(found(&repo), Ok(first));
    put("model.safetensors");
    assert_eq!(found(&repo), Ok(Origin::Folder(repo.clone())));
}

#[test]
fn other_files_and_names_are_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weights.bin");
    for (bytes, why) in [
        ("PK..", "not a `.gguf` one"),
        ("", "not a `.gguf` one"),
        ("{\"a\": 1}", "nor a manifest"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let told = found(&file).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(locate("embedded", &NOWHERE), Ok(Origin::Embedded));
    assert_eq!(
        locate("owner/name", &NOWHERE),
        Ok(Origin::Hub("owner/name".into()))
    );
    for wrong in [
        "owner/name/more",
        "../name",
        "owner",
        "owner/na me",
        "/nowhere/x.gguf",
    ] {
        assert!(locate(wrong, &NOWHERE).is_err(), "{wrong}");
    }
}
