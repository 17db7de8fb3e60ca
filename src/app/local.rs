//! A daemon inside this process, on free ports and in a directory that vanishes: for `demo`,
//! `bench` and `--local`.

use std::time::Duration;

use tempfile::TempDir;

use super::serve::Daemon;
use super::settings;
use crate::cli::{Client, Failure};
use crate::model::Base;

pub struct Local {
    daemon: Daemon,
    client: Client,
    /// Held for its drop.
    _data_dir: TempDir,
}

impl Local {
    /// `flags` are settings such as `("model.path", …)`, over the defaults; the environment counts as for `serve`.
    pub async fn start(flags: &[(&str, String)]) -> Result<Self, Failure> {
        let data_dir = tempfile::tempdir()?;
        let path = super::command::text_of(data_dir.path())?;
        let mut all = vec![
            ("server.http", "127.0.0.1:0".to_owned()),
            ("server.grpc", "127.0.0.1:0".to_owned()),
            ("storage.data_dir", path),
            // Nobody else is told its address.
            ("auth.mode", "off".to_owned()),
            ("telemetry.log", "warn".to_owned()),
            // What the environment may say of these is meant for `serve`.
            ("server.admin", String::new()),
            ("server.tls.certificate", String::new()),
            ("server.tls.key", String::new()),
            ("server.tls.client_ca", String::new()),
            ("server.tls.client_auth", "required".to_owned()),
            ("telemetry.access_log", "off".to_owned()),
            ("telemetry.otlp", String::new()),
        ];
        all.extend(flags.iter().cloned());
        let settings = settings::load(None, std::env::vars_os(), &all).map_err(super::unusable)?;
        super::telemetry::start_log(&settings.values.telemetry);
        let daemon = Daemon::start(&settings).await.map_err(Failure::failed)?;
        let client = Client::new(&format!("http://{}", daemon.http()), None)?;
        Ok(Self {
            daemon,
            client,
            _data_dir: data_dir,
        })
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub fn base(&self) -> &Base {
        self.daemon.base()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.daemon.http())
    }

    pub async fn stop(self) {
        self.daemon.stop(Duration::ZERO).await;
    }
}
