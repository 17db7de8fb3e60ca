//! tests: what the scheduler promises, seen from outside. `toy` is a model in a few lines whose answers can be computed by hand, so most tests
//! run the engine step by step without weights, threads or clocks; `real` and `thread` hold the same against a small decoder and the
//! engine's own thread. `asks` makes random requests for properties. It tests no kernels and no protocols.

mod asks;
mod deadline;
mod embedding;
mod exact;
mod fair;
mod guided;
mod mixes;
mod prefix;
mod real;
mod single;
mod speculation;
mod thread;
mod toy;
mod virtual_tokens;
