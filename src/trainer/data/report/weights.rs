//! The weights of a word in clusters: few as a list, many as a table, which is added to others without looking at each.

/// Clusters that are told apart; instructions like none of them count as other.
pub const CLUSTERS: usize = 256;
/// Clusters from which a table takes no more than twice the memory of a list.
const MANY: usize = 64;

pub enum Weights {
    /// In the clusters' order.
    Few(Vec<(u16, f32)>),
    /// Zero where a cluster does not have the word.
    Many(Box<[f32; CLUSTERS]>),
}

impl Default for Weights {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Weights {
    /// Adds so many times the weights to each cluster's sum.
    pub fn add_to(&self, sums: &mut [f32; CLUSTERS], times: f32) {
        match self {
            Self::Few(list) => {
                for (at, weight) in list {
                    sums[usize::from(*at)] += times * weight;
                }
            }
            Self::Many(table) => {
                for (sum, weight) in sums.iter_mut().zip(table.iter()) {
                    *sum += times * weight;
                }
            }
        }
    }

    /// The weight in a cluster.
    pub fn of(&mut self, at: u16) -> &mut f32 {
        if let Self::Few(list) = self
            && list.len() >= MANY
        {
            let mut table = Box::new([0.0; CLUSTERS]);
            list.iter()
                .for_each(|(at, weight)| table[usize::from(*at)] = *weight);
            *self = Self::Many(table);
        }
        match self {
            Self::Many(table) => &mut table[usize::from(at)],
            Self::Few(list) => {
                let place = match list.binary_search_by_key(&at, |(at, _)| *at) {
                    Ok(place) => place,
                    Err(place) => {
                        list.insert(place, (at, 0.0));
                        place
                    }
                };
                &mut list[place].1
            }
        }
    }

    /// The clusters that have the word, in their order.
    pub fn list(self) -> Vec<(u16, f32)> {
        match self {
            Self::Few(list) => list,
            Self::Many(table) => (0..)
                .zip(*table)
                .filter(|(_, weight)| *weight != 0.0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_a_list_does() {
        let mut weights = Weights::default();
        let mut wanted: Vec<(u16, f32)> = Vec::new();
        for step in 0..CLUSTERS {
            // Every cluster once, in no order.
            let at = (step * 37 % CLUSTERS) as u16;
            *weights.of(at) += 1.0 + step as f32;
            wanted.push((at, 1.0 + step as f32));
            assert_eq!(matches!(weights, Weights::Many(_)), step >= MANY);
            let mut sums = [0.5; CLUSTERS];
            weights.add_to(&mut sums, 2.0);
            for (at, sum) in sums.iter().enumerate() {
                let of = wanted.iter().find(|(other, _)| usize::from(*other) == at);
                assert_eq!(*sum, 0.5 + 2.0 * of.map_or(0.0, |(_, weight)| *weight));
            }
        }
        *weights.of(7) += 1.0;
        wanted.sort_by_key(|(at, _)| *at);
        wanted[7].1 += 1.0;
        assert_eq!(weights.list(), wanted);
    }
}
