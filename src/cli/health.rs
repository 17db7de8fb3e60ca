//! `health`: asks a daemon whether it is up. Container runtimes and scripts run it, so that an image needs no other program.

use std::time::Duration;

use super::{Client, Failure, Output};

/// Less than the five seconds that supervisors commonly grant a check, so that they hear the reason.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, clap::Args)]
pub struct HealthArgs {
    /// What to ask
    #[arg(long, value_enum, default_value_t = Probe::Ready)]
    probe: Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Probe {
    /// Whether its engine runs
    Live,
    /// Whether it takes new requests
    Ready,
    /// Whether its start is over
    Startup,
}

impl Probe {
    const fn path(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Startup => "startupz",
        }
    }
}

pub async fn run(client: &Client, args: &HealthArgs, output: Output) -> Result<(), Failure> {
    let path = [args.probe.path()];
    let answer = client.get(&path, &[]);
    let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
        Failure::Failed(format!(
            "/{} has not answered within {} seconds",
            args.probe.path(),
            PATIENCE.as_secs()
        ))
    })??;
    // Anything may answer 200 with some JSON on a port.
    if answer["status"].as_str() != Some("ok") {
        return Err(Failure::failed("what answers there is not adapterd"));
    }
    output.show(&answer, |_| "ok\n".to_owned())
}
