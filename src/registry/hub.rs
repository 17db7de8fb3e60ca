//! Adapters of a model hub: the files of a folder, as they are at one commit. Only the hub that the settings name is
//! asked, and what it redirects to; everything that comes has a bound in bytes and time.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;
use tokio::sync::Semaphore;
use ureq::{Agent, AgentBuilder, Error};

use super::{Files, Registry, Sizes};
use crate::adapter::peft::{FOLDER_FILES, PICKLED, WEIGHTS_FILES};
use crate::domain::{HubId, Reason};

/// Downloads at a time: each may hold an adapter in memory.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const PAUSE: Duration = Duration::from_secs(30);
/// All of one adapter.
const WHOLE: Duration = Duration::from_secs(30 * 60);
const REDIRECTS: usize = 5;
/// Of a list of files.
const LIST_BYTES: u64 = 4 << 20;
const PIECE: usize = 64 << 10;

/// The hub that adapters may come from; by default none.
#[derive(Clone, Default)]
pub struct Hub(Option<Arc<Door>>);

struct Door {
    at: Url,
    /// Sent to the hub alone.
    token: Option<String>,
    agent: Agent,
    turns: Semaphore,
}

/// What a hub says of a repository at a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The wait of a caller, who may leave.
struct Wait {
    caller: Weak<()>,
    until: Instant,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(door) => write!(f, "Hub at {}", door.at),
            None => write!(f, "no hub"),
        }
    }
}

impl Hub {
    /// `at`: an address that [`Hub::address`] takes. Empty texts are no hub and no token.
    pub fn new(at: &str, token: &str) -> Result<Self, String> {
        let Some(at) = Self::address(at)? else {
            return Ok(Self::default());
        };
        let agent = AgentBuilder::new()
            .timeout_connect(CONNECT)
            .timeout_read(PAUSE)
            .timeout_write(PAUSE)
            // Where a redirect leads is looked at first.
            .redirects(0)
            // A hub on this machine is asked directly.
            .try_proxy_from_env(at.scheme() == "https")
            .user_agent("adapterd")
            .build();
        let token = token.trim();
        Ok(Self(Some(Arc::new(Door {
            at,
            token: (!token.is_empty()).then(|| token.to_owned()),
            agent,
            turns: Semaphore::new(AT_ONCE),
        }))))
    }

    /// `https://HOST`, or `http` where the host is this machine; `None` where the text is empty.
    pub fn address(text: &str) -> Result<Option<Url>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let local = url.host_str().is_some_and(is_this_machine);
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(format!("`{text}` has to begin with https://")),
        }
        let bare = url.query().is_none() && url.fragment().is_none() && url.path() == "/";
        match bare && url.username().is_empty() && url.password().is_none() {
            true => Ok(Some(url)),
            false => Err(format!("`{text}` is more than a scheme, a host and a port")),
        }
    }
}

impl Registry {
    /// The adapter files of a repository, and where they came from: `hf:OWNER/NAME@COMMIT`.
    pub async fn fetch(&self, hub: &Hub, id: HubId) -> Result<(Files, String), Reason> {
        let Some(door) = hub.0.clone() else {
            let why = "is switched off: the setting `adapters.hub` is empty";
            return Err(Reason::field("hub", why));
        };
        let busy = Reason::Overloaded {
            retry_after: TURN.as_secs(),
        };
        let turn = tokio::time::timeout(TURN, door.turns.acquire()).await;
        let _turn = turn.map_err(|_| busy)?.map_err(|_| Reason::Draining)?;
        let caller = Arc::new(());
        let wait = Wait {
            caller: Arc::downgrade(&caller),
            until: Instant::now() + WHOLE,
        };
        let (sizes, asked) = (self.shared.sizes, door.clone());
        let work = move || asked.fetch(&id, sizes, &wait);
        let done = tokio::task::spawn_blocking(work).await;
        drop(caller);
        done.map_err(|_| Reason::Internal("a download broke off".into()))?
    }
}

impl Door {
    fn fetch(&self, id: &HubId, sizes: Sizes, wait: &Wait) -> Result<(Files, String), Reason> {
        let revision = id.revision().replace('/', "%2F");
        let path = format!("/api/models/{}/revision/{revision}", id.repo());
        let missing = || {
            let why = format!("there is no `{id}`, or its owner has to let you see it");
            Reason::field("hub", why)
        };
        let listing = self.get(&path, LIST_BYTES, "its list of files", wait)?;
        let listing = listing.ok_or_else(missing)?;
        let Listing { sha, siblings } = serde_json::from_slice(&listing)
            .map_err(|_| Reason::HubFailed("its list of files is none".into()))?;
        if !(40..=64).contains(&sha.len()) || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Reason::HubFailed(
                "it does not say which commit it is".into(),
            ));
        }
        let has = |name: &str| siblings.iter().any(|file| file.rfilename == name);
        if !WEIGHTS_FILES.into_iter().any(has) {
            let mut pickled = PICKLED.iter().filter(|(name, _)| has(name));
            return Err(match pickled.next() {
                Some((name, why)) => Reason::adapter(*name, *why),
                None => Reason::field("hub", format!("`{id}` has no weights of an adapter")),
            });
        }
        let mut files = Files::new();
        for name in FOLDER_FILES.into_iter().filter(|name| has(name)) {
            let path = format!("/{}/resolve/{sha}/{name}", id.repo());
            let bytes = self.get(&path, sizes.of(name), name, wait)?;
            files.insert(name.to_owned(), bytes.ok_or_else(missing)?.into());
        }
        Ok((files, format!("hf:{}@{sha}", id.repo())))
    }

    /// The bytes at a path of the hub, at most `limit`; `None` where there is nothing for us.
    fn get(
        &self,
        path: &str,
        limit: u64,
        what: &str,
        wait: &Wait,
    ) -> Result<Option<Vec<u8>>, Reason> {
        let failed = |why: String| Reason::HubFailed(format!("{what}: {why}"));
        let mut url = self
            .at
            .join(path)
            .map_err(|error| failed(error.to_string()))?;
        for _ in 0..=REDIRECTS {
            wait.check()?;
            let mut request = self.agent.request_url("GET", &url);
            if let Some(token) = self.token.as_ref().filter(|_| self.is_own(&url)) {
                request = request.set("authorization", &format!("Bearer {token}"));
            }
            let response = match request.set("accept-encoding", "identity").call() {
                Ok(response) => response,
                Err(Error::Status(401 | 403 | 404 | 410, _)) => return Ok(None),
                Err(Error::Status(status, _)) => return Err(failed(format!("status {status}"))),
                Err(Error::Transport(error)) => {
                    // Not the address: where a redirect led may hold a signature.
                    let kind = error.kind();
                    return Err(failed(
                        error.message().map_or(kind.to_string(), str::to_owned),
                    ));
                }
            };
            match response.status() {
                300..=399 => {
                    let next = response.header("location").and_then(|to| url.join(to).ok());
                    url = next
                        .filter(|next| self.may_follow(next))
                        .ok_or_else(|| failed("it leads where nothing is fetched from".into()))?;
                }
                _ => return read(response.into_reader(), limit, what, wait).map(Some),
            }
        }
        Err(failed("it leads from place to place".into()))
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.at.origin()
    }

    /// The hub's own addresses, and others by https that are no machine of an inner network by their name.
    fn may_follow(&self, to: &Url) -> bool {
        let plain = to.username().is_empty() && to.password().is_none();
        let host = to.host_str().unwrap_or_default();
        let named = to.domain().is_some_and(|name| name.contains('.'));
        plain && (self.is_own(to) || (to.scheme() == "https" && named && !is_this_machine(host)))
    }
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "[::1]" | "localhost") || host.ends_with(".localhost")
}

fn read(mut from: impl Read, limit: u64, what: &str, wait: &Wait) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        wait.check()?;
        let count = from.read(&mut piece);
        let count = count.map_err(|error| Reason::HubFailed(format!("{what}: {error}")))?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece[..count]);
        if bytes.len() as u64 > limit {
            return Err(Reason::adapter(
                what,
                format!("is larger than {limit} bytes"),
            ));
        }
    }
}

impl Wait {
    fn check(&self) -> Result<(), Reason> {
        match Instant::now() < self.until && self.caller.strong_count() > 0 {
            true => Ok(()),
            false => Err(Reason::HubFailed("it took too long".into())),
        }
    }
}

#[cfg(test)]
mod tests;
