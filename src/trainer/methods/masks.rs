//! Which inputs of an update a forward drops.

use crate::adapter::Site;
use crate::kernels::Dropout;
use crate::trainer::rng::{self, Purpose};

/// Dropout of one forward: every site has its own mask, and every forward of every step another.
#[derive(Debug, Clone, Copy)]
pub struct Masks {
    pub rate: f32,
    pub seed: u64,
    pub step: u64,
    pub forward: u64,
}

impl Masks {
    pub fn at(&self, site: Site) -> Dropout {
        self.drawn(site.layer as u64, site.module as u64)
    }

    /// Of the head's update.
    pub fn at_head(self) -> Dropout {
        self.drawn(u64::MAX, 0)
    }

    fn drawn(&self, layer: u64, module: u64) -> Dropout {
        use rand_chacha::rand_core::RngCore;
        let place = [self.step, self.forward, layer, module];
        let mut key = [0; 32];
        rng::stream(self.seed, Purpose::Dropout, &place).fill_bytes(&mut key);
        Dropout {
            key,
            rate: self.rate,
        }
    }
}
