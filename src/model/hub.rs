//! Folders of models on the Hugging Face hub: downloaded once into the cache that other tools share.

use std::ffi::OsString;
use std::path::PathBuf;

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo};

/// Files beside the weights; those a model lacks are left out.
const BESIDE: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    crate::text::TOOL_USE_FILE,
];
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The local folder of a model, complete. Without a connection, what the cache holds.
pub(super) fn folder(id: &str) -> Result<PathBuf, String> {
    let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|on| !matches!(on.as_str(), "" | "0"));
    fetch(
        id,
        &cache_of(std::env::var_os("HF_HOME"), std::env::home_dir())?,
        offline,
    )
}

/// The cache below `hf_home`, or else below the account's home; the library's own way to find it ends the process where
/// there is none.
fn cache_of(hf_home: Option<OsString>, home: Option<PathBuf>) -> Result<Cache, String> {
    let said = hf_home.filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = home.filter(|dir| !dir.as_os_str().is_empty());
    let root = said.or_else(|| Some(home?.join(".cache/huggingface")));
    root.map(|root| Cache::new(root.join("hub"))).ok_or_else(|| {
        "cannot be fetched or found: there is no home directory for the hub's cache; HF_HOME names another".to_owned()
    })
}

fn fetch(id: &str, cache: &Cache, offline: bool) -> Result<PathBuf, String> {
    let repo = Repo::model(id.to_owned());
    if offline {
        return cached(cache, &repo)
            .ok_or_else(|| "is not in the local cache, and HF_HUB_OFFLINE is set".to_owned());
    }
    let api = api(cache).map_err(|e| e.to_string())?;
    match download(&api.repo(repo.clone())) {
        Ok(folder) => Ok(folder),
        Err(why) => cached(cache, &repo)
            .ok_or_else(|| format!("{why} (the cache is {})", cache.path().display())),
    }
}

fn api(cache: &Cache) -> Result<Api, hf_hub::api::sync::ApiError> {
    let builder = ApiBuilder::from_cache(cache.clone())
        .with_progress(false)
        .with_retries(1);
    match std::env::var("HF_ENDPOINT") {
        Ok(endpoint) => builder.with_endpoint(endpoint).build(),
        Err(_) => builder.build(),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Which variable names the proxy that downloads go through, if one does: those that the HTTP library of the hub reads, in
/// its order.
fn through(variable: impl Fn(&str) -> Option<String>) -> String {
    let names = [
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ];
    let is_set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    let named = names.into_iter().find(is_set);
    named.map_or_else(String::new, |name| {
        format!(" (asked through the proxy that {name} names)")
    })
}

/// Fetches what is missing from the cache; pickle files are never asked for.
fn download(repo: &ApiRepo) -> Result<PathBuf, String> {
    let listing = repo
        .info()
        .map_err(|e| format!("the hub does not answer{}: {e}", through(variable)))?;
    let there = |name: &str| listing.siblings.iter().any(|file| file.rfilename == name);
    if !there(SINGLE) && !there(INDEX) {
        return Err("has no safetensors weights".to_owned());
    }
    let get = |name: &str| repo.get(name).map_err(|e| format!("{name}: {e}"));
    let mut wanted: Vec<String> = BESIDE
        .iter()
        .filter(|name| there(name))
        .map(|name| (*name).to_owned())
        .collect();
    if there(SINGLE) {
        wanted.push(SINGLE.to_owned());
    } else {
        let index = std::fs::read_to_string(get(INDEX)?).map_err(|e| format!("{INDEX}: {e}"))?;
        wanted.extend(shards(&index)?);
    }
    for name in &wanted {
        tracing::info!(file = name, "fetching from the hub unless cached");
        get(name)?;
    }
    let config = get("config.json")?;
    config
        .parent()
        .map(PathBuf::from)
        .ok_or_else(|| "the cache has no folder".to_owned())
}

fn shards(index: &str) -> Result<Vec<String>, String> {
    let index: serde_json::Value =
        serde_json::from_str(index).map_err(|e| format!("{INDEX}: {e}"))?;
    let mut files: Vec<String> = index["weight_map"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, file)| Some(file.as_str()?.to_owned()))
        .collect();
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// The folder of a model that the cache holds whole.
fn cached(cache: &Cache, repo: &Repo) -> Option<PathBuf> {
    let cache = cache.repo(repo.clone());
    let config = cache.get("config.json")?;
    cache.get("tokenizer.json")?;
    if cache.get(SINGLE).is_none() {
        let index = std::fs::read_to_string(cache.get(INDEX)?).ok()?;
        shards(&index)
            .ok()?
            .iter()
            .all(|name| cache.get(name).is_some())
            .then_some(())?;
    }
    config.parent().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache as the hub's libraries lay it out, with these files of one model.
    fn cache_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("models--owner--name");
        let snapshot = model.join("snapshots/abc123");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), "abc123").unwrap();
        for (name, text) in files {
            std::fs::write(snapshot.join(name), text).unwrap();
        }
        let cache = Cache::new(dir.path().to_owned());
        (dir, cache)
    }

    #[test]
    fn a_model_in_the_cache_needs_no_connection() {
        let (_dir, cache) = cache_with(&[
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            (SINGLE, ""),
        ]);
        assert!(
            fetch("owner/name", &cache, true)
                .unwrap()
                .ends_with("models--owner--name/snapshots/abc123")
        );
        assert!(
            fetch("owner/other", &cache, true)
                .unwrap_err()
                .contains("HF_HUB_OFFLINE")
        );
    }

    #[test]
    fn the_cache_is_where_the_environment_says_and_without_a_home_an_error() {
        let path = |hf_home: Option<&str>, home: Option<&str>| {
            let cache = cache_of(hf_home.map(OsString::from), home.map(PathBuf::from));
            cache.map(|cache| cache.path().clone())
        };
        let below = Ok(PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert_eq!(path(None, Some("/home/me")), below);
        assert_eq!(path(Some(""), Some("/home/me")), below);
        assert_eq!(path(Some("/hf"), None), Ok(PathBuf::from("/hf/hub")));
        for home in [None, Some("")] {
            assert!(path(None, home).unwrap_err().contains("HF_HOME"));
        }
    }

    #[test]
    fn the_proxy_of_a_download_is_told_by_the_variable_that_names_it() {
        let told = |set: &[(&str, &str)]| {
            through(|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(told(&[("NO_PROXY", "x"), ("ALL_PROXY", "")]), "");
        let both = [("https_proxy", "http://p"), ("HTTP_PROXY", "http://q")];
        assert!(told(&both).contains("that https_proxy names"));
    }

    #[test]
    fn a_cached_model_lacking_a_shard_is_not_whole() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        let beside = [
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            (INDEX, index),
            ("1.safetensors", ""),
        ];
        let (dir, cache) = cache_with(&beside);
        assert!(fetch("owner/name", &cache, true).is_err());
        std::fs::write(
            dir.path()
                .join("models--owner--name/snapshots/abc123/2.safetensors"),
            "",
        )
        .unwrap();
        assert!(fetch("owner/name", &cache, true).is_ok());
    }
}
