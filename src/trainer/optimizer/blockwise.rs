//! Numbers in 8 bits each, a scale for every block of them: dynamic tree quantization (Dettmers, arXiv 1511.04561) by
//! blocks (Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861). Maps, and the size of a block,
//! are bitsandbytes'.

use std::sync::OnceLock;

/// Numbers under one scale.
pub const BLOCK: usize = 256;

/// What the 256 codes stand for, as shares of a block's largest number: many decades, the upper ones finely.
pub struct Map {
    values: [f32; 256],
    /// Halfway from each value to the next; nothing is beyond the last.
    bounds: [f32; 256],
    /// The code to begin with, by the leading bits of a number's magnitude: of those from 0 up, and of those below.
    starts: [Vec<u8>; 2],
    zero: u8,
    /// What a number above 0 becomes at least.
    least: u8,
}

/// Bits of a magnitude that choose where to begin: all of the exponent, and seven after it.
const DROPPED: u32 = 16;
/// Those of 2⁻²⁴; smaller ones begin where this does, or at 0.
const LOWEST: u32 = (127 - 24) << (23 - DROPPED);
/// Those of 1.
const HIGHEST: u32 = 127 << (23 - DROPPED);

impl Map {
    /// Of first moments.
    pub fn signed() -> &'static Self {
        static MAP: OnceLock<Map> = OnceLock::new();
        MAP.get_or_init(|| Self::new(true))
    }

    /// Of second moments. A number above 0 never becomes 0 here, which it may in bitsandbytes: a first moment over the root
    /// of nothing would move its weight many times too far.
    pub fn unsigned() -> &'static Self {
        static MAP: OnceLock<Map> = OnceLock::new();
        MAP.get_or_init(|| Self::new(false))
    }

    /// Seven decades, each cut twice as finely as the one below; the means of the cuts, 0 and 1.
    fn new(signed: bool) -> Self {
        let mut values = vec![0.0, 1.0];
        for decade in 0..7 {
            let cuts = 1 << if signed { decade } else { decade + 1 };
            let by = 10f64.powi(decade - 6);
            for cut in 0..cuts {
                let edge = |at: i32| 0.1 + 0.9 * f64::from(at) / f64::from(cuts);
                let mean = (by * (edge(cut) + edge(cut + 1)) / 2.0) as f32;
                values.push(mean);
                if signed {
                    values.push(-mean);
                }
            }
        }
        values.sort_unstable_by(f32::total_cmp);
        let mut map = Self {
            values: std::array::from_fn(|code| values.get(code).copied().unwrap_or(1.0)),
            bounds: [f32::INFINITY; 256],
            starts: [Vec::new(), Vec::new()],
            zero: values.partition_point(|value| *value < 0.0) as u8,
            least: 0,
        };
        for (bound, pair) in map.bounds.iter_mut().zip(map.values.windows(2)) {
            *bound = (pair[0] + pair[1]) / 2.0;
        }
        if !signed {
            map.least = map.zero + 1;
        }
        let below = |x: f32| map.bounds.partition_point(|bound| *bound < x) as u8;
        let edge = |key: u32| f32::from_bits(key << DROPPED);
        let from_zero = |key| match key {
            LOWEST => below(0.0),
            key => below(edge(key)),
        };
        map.starts = [
            (LOWEST..=HIGHEST).map(from_zero).collect(),
            (LOWEST..=HIGHEST)
                .map(|key| below(-edge(key + 1)))
                .collect(),
        ];
        map
    }

    pub const fn zero(&self) -> u8 {
        self.zero
    }

    /// The code whose value is nearest to `x`, from −1 to 1; of two the lower.
    fn code(&self, x: f32) -> u8 {
        let magnitude = x.to_bits() & 0x7fff_ffff;
        let key = (magnitude >> DROPPED).clamp(LOWEST, HIGHEST) - LOWEST;
        let mut code = self.starts[usize::from(x < 0.0)][key as usize];
        while x > self.bounds[usize::from(code)] {
            code += 1;
        }
        match x > 0.0 {
            true => code.max(self.least),
            false => code,
        }
    }

    /// Writes the numbers of a block.
    pub fn unpack(&self, codes: &[u8], scale: f32, numbers: &mut [f32]) {
        for (number, code) in numbers.iter_mut().zip(codes) {
            *number = self.values[usize::from(*code)] * scale;
        }
    }

    /// Writes the codes of a block, and returns its scale.
    pub fn pack(&self, numbers: &[f32], codes: &mut [u8]) -> f32 {
        let scale = numbers.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        if scale == 0.0 {
            codes.fill(self.zero);
            return scale;
        }
        for (code, number) in codes.iter_mut().zip(numbers) {
            *code = self.code(number / scale);
        }
        scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest by trying all.
    fn plain(map: &Map, x: f32) -> u8 {
        let over = map.bounds[..255].iter().filter(|bound| x > **bound).count() as u8;
        match x > 0.0 {
            true => over.max(map.least),
            false => over,
        }
    }

    #[test]
    fn a_map_is_bitsandbytes() {
        let signed = Map::signed();
        assert_eq!((signed.values[0], signed.values[255]), (-0.992_968_75, 1.0));
        assert_eq!((signed.zero, signed.values[127]), (127, 0.0));
        assert!((signed.values[128] - 5.5e-7).abs() < 1e-12);
        assert!((signed.values[129] - 3.25e-6).abs() < 1e-11);
        let unsigned = Map::unsigned();
        assert_eq!((unsigned.zero, unsigned.values[0]), (0, 0.0));
        assert!((unsigned.values[1] - 3.25e-7).abs() < 1e-12);
        assert!((unsigned.values[254] - 0.996_484_4).abs() < 1e-6 && unsigned.values[255] == 1.0);
        for map in [signed, unsigned] {
            assert!(map.values.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn codes_are_the_nearest() {
        for map in [Map::signed(), Map::unsigned()] {
            let lowest = if map.zero == 0 { 0.0 } else { -1.0 };
            let mut seen = vec![lowest, 0.0, 1.0, 1e-30, f32::MIN_POSITIVE / 2.0];
            for (value, bound) in map.values.iter().zip(map.bounds) {
                seen.push(*value);
                let bound = bound.min(1.0);
                seen.extend([bound, bound.next_down(), bound.next_up().min(1.0)]);
            }
            for step in 0..20_000u32 {
                let x = f32::from_bits(0x2f80_0000 + step * 0x4000).min(1.0);
                seen.extend([x, if lowest < 0.0 { -x } else { x }]);
            }
            for x in seen {
                if x >= lowest {
                    assert_eq!(map.code(x), plain(map, x), "{x:e}");
                }
            }
        }
    }

    #[test]
    fn a_block_comes_back_near_what_it_was_and_packs_to_itself() {
        for (map, sign) in [(Map::signed(), -1.0), (Map::unsigned(), 1.0)] {
            let numbers: Vec<f32> = (0..BLOCK)
                .map(|at| 3.0 * (1.0 + at as f32).recip() * if at % 2 == 0 { 1.0 } else { sign })
                .collect();
            let mut codes = [0; BLOCK];
            let scale = map.pack(&numbers, &mut codes);
            assert_eq!(scale, 3.0);
            let mut back = [0.0; BLOCK];
            map.unpack(&codes, scale, &mut back);
            for (number, back) in numbers.iter().zip(back) {
                // Half a cut of its decade.
                assert!(
                    (number - back).abs() < 0.16 * number.abs(),
                    "{number}: {back}"
                );
            }
            let mut again = [0; BLOCK];
            assert_eq!(map.pack(&back, &mut again), scale);
            assert_eq!(again, codes);
            assert_eq!(map.pack(&[0.0; 3], &mut codes[..3]), 0.0);
            assert_eq!(codes[..3], [map.zero; 3]);
        }
    }

    #[test]
    fn a_second_moment_above_zero_stays_above_it() {
        let mut codes = [0; 3];
        let map = Map::unsigned();
        map.pack(&[1.0, 1e-12, 0.0], &mut codes);
        let mut back = [0.0; 3];
        map.unpack(&codes, 1.0, &mut back);
        assert!(back[1] > 0.0 && back[2] == 0.0, "{back:?}");
    }
}
