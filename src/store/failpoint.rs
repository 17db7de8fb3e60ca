//! Moments in a write after which power may fail, so that tests can end the process there.

/// In the order of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The files are written and synchronised, in staging.
    Written,
    /// Read back and found to be what was meant.
    Verified,
    /// Under their final name, which may not survive yet.
    Renamed,
    /// Under their final name for good.
    Placed,
    /// The transaction is prepared but not committed.
    Prepared,
    /// The name points to them, for good.
    Committed,
}

pub trait Failpoints: Send + Sync {
    fn reached(&self, point: Failpoint);
}

/// Does nothing.
pub struct NoFailpoints;

impl Failpoints for NoFailpoints {
    fn reached(&self, _: Failpoint) {}
}

/// Changes the file `weights` of what is staged in a folder, once it is written.
#[cfg(test)]
pub struct Damage(pub std::path::PathBuf);

#[cfg(test)]
impl Failpoints for Damage {
    fn reached(&self, point: Failpoint) {
        if point == Failpoint::Written {
            for entry in std::fs::read_dir(&self.0).unwrap() {
                std::fs::write(entry.unwrap().path().join("weights"), "other").unwrap();
            }
        }
    }
}
