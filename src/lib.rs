//! adapterd: one quantized base model, many adapters in one batch, and a trainer that registers new ones live.
//!
//! A folder is a small crate, and what others may use of it is in its `mod.rs`. Imports go one way:
//!
//! ```text
//! app → cli · api → gateway → {scheduler | trainer ← factory} → {model | registry} → {adapter | store}
//!     → kernels → device → text → domain
//! ```
//!
//! A module imports only what lies to its right, and never its neighbour inside braces; the factory uses the trainer.

pub mod adapter;
pub mod api;
pub mod app;
pub mod cli;
pub mod device;
pub mod domain;
pub mod factory;
pub mod gateway;
pub mod kernels;
pub mod model;
pub mod pb;
pub mod registry;
pub mod scheduler;
pub mod store;
pub mod text;
pub mod trainer;
