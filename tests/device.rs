//! The second arm of operations, on an emulated device: each against the host's arm, and the device against mistakes.
//! Elsewhere than on x86-64 Linux there is no emulated device, and nothing here.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[cfg(feature = "cuda")]
#[path = "device/card.rs"]
mod card;
#[path = "device/cases.rs"]
mod cases;
#[path = "device/emulated.rs"]
mod emulated;
#[path = "device/host.rs"]
mod host;
#[path = "device/mutants.rs"]
mod mutants;
#[path = "device/operations.rs"]
mod operations;
#[path = "device/probes.rs"]
mod probes;
#[path = "device/recording.rs"]
mod recording;
#[path = "device/seam.rs"]
mod seam;
