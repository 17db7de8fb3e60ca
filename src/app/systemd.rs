//! What systemd is told of this daemon, where it runs under it: that it is ready, that it lives, that it stops.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a message may wait for the manager to read what was sent before: its socket holds few.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_millis(100);

/// The manager's socket, where there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Manager {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment of a unit names it: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Self {
            socket: variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// Says that the daemon lives, as long as `is_alive` says so, twice in the time that systemd waits. Returns at once where
    /// it does not wait for it.
    pub async fn watch(self, is_alive: impl Fn() -> bool, stop: CancellationToken) {
        let Some(patience) = self.watchdog else {
            return;
        };
        let mut ticks = tokio::time::interval(patience / 2);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if is_alive() {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = send(socket, message) {
            tracing::warn!(%error, socket = %socket.display(), "systemd is not told");
        }
    }
}

/// Assignments are told apart by ends of lines.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(target_os = "linux")]
fn send(socket: &OsStr, message: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match socket.as_bytes() {
        // A name that is no file.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read for a while would hold this thread, and the timers and sockets it looks after.
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(_: &OsStr, _: &str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn manager(socket: &OsStr, watchdog: Option<&str>) -> Manager {
        Manager::of(|name| match name {
            "NOTIFY_SOCKET" => Some(socket.to_owned()),
            "WATCHDOG_USEC" => watchdog.map(Into::into),
            _ => None,
        })
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_is_told_on_its_socket_or_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager_at = |socket: &OsStr| manager(socket, None);
        manager_at(path.as_os_str()).ready("serves\ntiny");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serves tiny");
        let name = format!("adapterd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        manager_at(OsStr::new(&format!("@{name}"))).stopping("drains");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=drains");
        // Without one, and with one that has gone, nothing happens.
        Manager::of(|_| None).ready("");
        manager_at(OsStr::new("/nowhere/at/all")).ready("");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_watchdog_is_fed_while_the_engine_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stop = CancellationToken::new();
        let alive = Arc::new(AtomicBool::new(true));
        let lives = alive.clone();
        let watch = manager(path.as_os_str(), Some("20000"))
            .watch(move || lives.load(Ordering::Relaxed), stop.clone());
        let watch = tokio::spawn(watch);
        let drain = || {
            let mut bytes = [0; 64];
            let mut count = 0;
            while let Ok(length) = socket.recv(&mut bytes) {
                assert_eq!(&bytes[..length], b"WATCHDOG=1");
                count += 1;
            }
            count
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(drain() >= 2);
        alive.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        drain();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(drain(), 0, "a stuck engine is not covered for");
        stop.cancel();
        watch.await.unwrap();
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        let held: usize = limit.trim().parse().unwrap();
        let manager = manager(path.as_os_str(), None);
        // One more than are held, and one that would wait for ever.
        (0..held + 2).for_each(|_| manager.ready(""));
        assert_eq!(heard(&socket), "READY=1\nSTATUS=");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let of = |id: String| {
            let manager = Manager::of(|name| match name {
                "WATCHDOG_USEC" => Some("1000".into()),
                "WATCHDOG_PID" => Some(id.clone().into()),
                _ => None,
            });
            manager.watchdog
        };
        assert_eq!(of("1".into()), None);
        let ours = of(std::process::id().to_string());
        assert_eq!(ours, Some(Duration::from_millis(1)));
    }
}
