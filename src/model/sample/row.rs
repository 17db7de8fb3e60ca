//! Selection in one row of scores, without sorting it.

use std::cmp::Ordering;

/// Scores passed over at once.
const CHUNK: usize = 16;

/// The order every filter and every report uses: larger value first, and of equal values the lower id.
pub fn ahead(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.partial_cmp(&a.0)
        .unwrap_or(Ordering::Equal)
        .then(a.1.cmp(&b.1))
}

/// Leaves the values whose bit is set; the lowest bit of a word comes first, and bits beyond the last word are not set.
pub fn keep(row: &mut [f32], bits: &[u32]) {
    let words = bits.iter().copied().chain(std::iter::repeat(0));
    for (values, word) in row.chunks_mut(u32::BITS as usize).zip(words) {
        // Forms allow nearly all tokens or nearly none, so most words are one of these.
        match word {
            u32::MAX => {}
            0 => values.fill(f32::NEG_INFINITY),
            _ => {
                for (bit, value) in values.iter_mut().enumerate() {
                    let kept = word >> bit & 1 == 1;
                    *value = if kept { *value } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}

/// The lowest id with this value.
pub fn first_at(row: &[f32], value: f32) -> u32 {
    row.iter().position(|&v| v == value).unwrap_or(0) as u32
}

/// Leaves the `k` foremost values with their ids in `out`, in no particular order; values of -∞ are never among them.
///
/// Keeps at most 2k candidates and the k-th best so far as a floor, so most of the row is only compared.
pub fn foremost(row: &[f32], k: usize, out: &mut Vec<(f32, u32)>) {
    out.clear();
    if k == 0 {
        return;
    }
    let k = k.min(row.len());
    let mut floor = f32::NEG_INFINITY;
    for (at, chunk) in row.chunks(CHUNK).enumerate() {
        if !chunk
            .iter()
            .fold(false, |any, &value| any | (value > floor))
        {
            continue;
        }
        for (lane, &value) in chunk.iter().enumerate() {
            // A later value equal to the floor has a higher id, so it is behind.
            if value > floor {
                out.push((value, (at * CHUNK + lane) as u32));
                if out.len() == 2 * k {
                    out.select_nth_unstable_by(k - 1, ahead);
                    out.truncate(k);
                    floor = out[k - 1].0;
                }
            }
        }
    }
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, ahead);
        out.truncate(k);
    }
}

/// The last member of the smallest leading set of `weights` whose sum reaches `need`.
///
/// Halves the set by selection and descends into the half where the running sum crosses `need`: linear time, no sort.
pub fn nucleus_end(mut weights: &mut [(f32, u32)], mut need: f64) -> Option<(f32, u32)> {
    while weights.len() > 32 {
        let middle = weights.len() / 2;
        weights.select_nth_unstable_by(middle, ahead);
        let (front, back) = weights.split_at_mut(middle);
        let mass: f64 = front.iter().map(|&(weight, _)| f64::from(weight)).sum();
        if mass >= need {
            weights = front;
        } else {
            need -= mass;
            weights = back;
        }
    }
    weights.sort_unstable_by(ahead);
    for &entry in weights.iter() {
        need -= f64::from(entry.0);
        if need <= 0.0 {
            return Some(entry);
        }
    }
    weights.last().copied()
}
