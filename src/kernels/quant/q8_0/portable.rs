//! The plain twin: what the fast kernels compute, spelled out.

use super::super::super::quant::single;
use super::{BLOCK, Group, LANES, Rounded};

pub(super) fn tile(groups: &[Group], x: &Rounded, mut write: impl FnMut(usize, &[f32; LANES])) {
    for row in 0..x.rows() {
        let mut out = [0f32; LANES];
        for (block, group) in groups.iter().enumerate() {
            let at = row * x.blocks + block;
            let mut sums = [0i32; LANES];
            for (q, x) in group
                .q
                .iter()
                .zip(x.q[at * BLOCK..(at + 1) * BLOCK].as_chunks::<4>().0)
            {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    for i in 0..4 {
                        *sum += i32::from(q[4 * lane + i]) * i32::from(x[i]);
                    }
                }
            }
            for (lane, out) in out.iter_mut().enumerate() {
                *out += sums[lane] as f32 * (single(group.scales[lane]) * x.scales[at]);
            }
        }
        write(row, &out);
    }
}
