//! store: what outlives the process. Names, jobs, uploads, keys, feedback and the audit are rows of a database; adapters, checkpoints and
//! uploads are files. All SQL and every write that must survive a power failure is here, behind narrow types.
//!
//! A change is one transaction (trimming the audit is several), and none leaves this layer, so another database or an
//! object store can be put behind the same types. Knows no policy: what is kept, retried or refused is decided above.

mod artefacts;
mod audit;
mod blocking;
mod clock;
mod database;
mod disk;
mod entry;
mod failpoint;
mod fault;
mod feedback;
mod jobs;
mod keys;
mod names;
mod page;
mod retry;
#[cfg(test)]
mod tests;
mod uploads;

pub use artefacts::{Artefacts, Removed, SLICE, Staged, Writing};
pub use audit::Audit;
pub use blocking::{blocking, joined};
pub use clock::now;
pub use database::Database;
pub use disk::{create_folder, publish_file, read_through, remove, sweep};
#[cfg(test)]
pub use entry::testing;
pub use entry::{Entry, NamedVersion, Route, Version};
pub use failpoint::{Failpoint, Failpoints, NoFailpoints};
pub use fault::io as disk_fault;
pub use feedback::{Answered, Bounds, Feedback, Given, Kept, Place, Unused, Use};
pub use jobs::{Beside, JobError, JobProgress, JobRow, Jobs, NewEvent, Publishing, Way, is_over};
pub use keys::{KeyRow, Keys, Replaced};
pub use names::{Landed, Landing, Names, Unserved};
pub use page::Page;
pub use retry::retry;
pub use uploads::{Incoming, Stored, Uploads};
