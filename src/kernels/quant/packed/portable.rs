//! The plain twin: what the fast kernels compute, spelled out.

use super::{Codes, LANES, Layout, Rounded, Scaling, Tiles};

pub(super) fn tiles<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    let (blocks, span) = (x.blocks, L::Scaling::SPAN);
    let parts = tiles.codes.chunks_exact(blocks.max(1));
    for (tile, codes) in parts.enumerate() {
        let mut out = vec![[0f32; LANES]; x.rows()];
        for (block, codes) in codes.iter().enumerate() {
            let codes = codes.spread();
            let scaling = &tiles.scaling[tile * (blocks / span) + block / span];
            for (row, out) in out.iter_mut().enumerate() {
                let at = x.at(row, block);
                let (q, _) = x.q[at].as_chunks::<4>();
                let mut sums = [x.sums[at].map(|sum| -L::ZERO * sum); LANES];
                for (g, (codes, q)) in codes.iter().zip(q).enumerate() {
                    for (lane, sums) in sums.iter_mut().enumerate() {
                        for i in 0..4 {
                            sums[g / 4] += i32::from(codes[4 * lane + i]) * i32::from(q[i]);
                        }
                    }
                }
                for (lane, out) in out.iter_mut().enumerate() {
                    let place = scaling.of(block % span, lane);
                    if L::Scaling::HALVES {
                        let sum = sums[lane][0] as f32 * place.scales[0]
                            + sums[lane][1] as f32 * place.scales[1];
                        *out += sum * x.scales[at];
                    } else {
                        let sum = (sums[lane][0] + sums[lane][1]) as f32;
                        *out += sum * (place.scales[0] * x.scales[at]);
                    }
                    if L::Scaling::SHIFTS {
                        *out += place.shift * x.weighted[at];
                    }
                }
            }
        }
        for (row, out) in out.iter().enumerate() {
            write(row, tile, out);
        }
    }
}
