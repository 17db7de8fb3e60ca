//! rollout: what of a name's requests is answered by which of its generations, what is counted of each, and when a new one
//! takes over or is given up. No clocks and no state: numbers go in, decisions come out.

mod distance;
mod histogram;
mod judge;
mod pick;
mod policy;
mod publish;
mod route;
mod tally;

pub use distance::distance;
pub use histogram::Histogram;
pub use judge::{Decision, Evidence, Verdict, judge};
pub use pick::{Part, falls_in};
pub use policy::{MIN_FEEDBACK, MIN_REQUESTS, Policy};
pub use publish::Publish;
pub use route::{Arm, Canary, CanaryAsk, Percent, RouteView, Shadow, Sticky};
pub use tally::{
    ArmView, Comparison, CountsView, Outcome, ShadowCountsView, ShadowTally, Tally, Watched,
    of_score,
};
