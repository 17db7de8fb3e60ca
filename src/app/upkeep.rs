//! upkeep: what goes on beside the listeners: certificates and logs that are renewed, and how short memory is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use crate::api::{AccessLog, Common};
use crate::device::machine;
use crate::gateway::Pressure;
use crate::kernels;

/// How often it is looked whether certificates have changed.
const RENEW: Duration = Duration::from_secs(3);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What listeners hold together, or what is wrong with it.
pub fn common(settings: &Settings) -> anyhow::Result<Common> {
    let values = &settings.values;
    let tls = settings.tls().map_err(super::unusable)?;
    let log = values.telemetry.access_log().map(|place| {
        let shown = values.telemetry.access_log.clone();
        AccessLog::open(place).map_err(|error| {
            anyhow::anyhow!("telemetry.access_log: {shown} cannot be written: {error}")
        })
    });
    Ok(Common {
        tls,
        log: log.transpose()?,
        ..Common::default()
    })
}

/// Keeps certificates as their files are, and on a hang-up signal looks at once and opens the access log anew.
pub async fn renew(common: Common, stop: CancellationToken) {
    // Without anything to renew, the signal keeps the meaning that it has for every program.
    if common.tls.is_none() && common.log.is_none() {
        return;
    }
    let mut hangups = Hangups::start();
    let mut ticks = tokio::time::interval(RENEW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = hangups.next() => {
                if let Some(log) = &common.log {
                    log.reopen();
                }
                tracing::info!("certificates and the access log are looked at anew");
            }
        }
        if let Some(tls) = &common.tls {
            tls.renew().await;
        }
    }
}

#[cfg(unix)]
struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    fn start() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let started = signal(SignalKind::hangup());
        Self(
            started
                .inspect_err(|error| tracing::warn!(%error, "no hang-ups are heard"))
                .ok(),
        )
    }

    async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn start() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Tells how much of the memory this process has, of `bytes` or else of what its control group or the machine has. The one
/// place that looks. From three quarters on, memory that is only kept for what comes goes back before requests are refused.
pub async fn weigh(pressure: Pressure, bytes: Option<u64>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        // The limit of a group can be changed while it runs.
        let Some(all) = bytes.or_else(machine::allowed) else {
            continue;
        };
        let is_much = |held: &u64| *held / 3 >= all / 4;
        if machine::held().filter(is_much).is_some() && kernels::kept_bytes() > 0 {
            // Taking long lists of pages back is no work for a thread that others wait for.
            drop(tokio::task::spawn_blocking(kernels::return_kept).await);
        }
        if let Some(held) = machine::held() {
            pressure.tell(held, all);
        }
    }
}
