//! Where an adapter can act: the linear layers of a decoder, under the paths Hugging Face gives them.

/// A linear layer of one decoder block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Module {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Module {
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The last part of the path: `q_proj`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The part of the block that holds it: `self_attn` or `mlp`.
    pub const fn parent(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }
}

/// One linear layer of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    pub layer: usize,
    pub module: Module,
}

impl Site {
    /// `model.layers.3.self_attn.q_proj`
    pub fn path(&self) -> String {
        format!(
            "model.layers.{}.{}.{}",
            self.layer,
            self.module.parent(),
            self.module.name()
        )
    }
}

/// A site with the widths of its weight [outputs, inputs].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteShape {
    pub site: Site,
    pub inputs: usize,
    pub outputs: usize,
}

/// A matrix outside the blocks that low-rank updates can be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outer {
    Embedding,
    Head,
}

impl Outer {
    pub const ALL: [Self; 2] = [Self::Embedding, Self::Head];

    /// Of the module, as Hugging Face names it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Embedding => "model.embed_tokens",
            Self::Head => "lm_head",
        }
    }
}

/// A value for some of the sites, found without hashing: one lookup per linear layer and adapter in every step.
#[derive(Debug, Clone)]
pub struct SiteMap<T> {
    /// Indexed by `layer * 7 + module`.
    slots: Vec<Option<T>>,
}

impl<T> Default for SiteMap<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T> SiteMap<T> {
    fn index(site: Site) -> usize {
        site.layer * Module::ALL.len() + site.module as usize
    }

    pub fn insert(&mut self, site: Site, value: T) {
        let index = Self::index(site);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(value);
    }

    pub fn get(&self, site: Site) -> Option<&T> {
        self.slots.get(Self::index(site))?.as_ref()
    }

    /// In the order of the layers, and within one of `Module::ALL`.
    pub fn iter(&self) -> impl Iterator<Item = (Site, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let count = Module::ALL.len();
            let site = Site {
                layer: index / count,
                module: Module::ALL[index % count],
            };
            slot.as_ref().map(|value| (site, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_the_path_that_checkpoints_use() {
        assert_eq!(
            Site {
                layer: 3,
                module: Module::Q
            }
            .path(),
            "model.layers.3.self_attn.q_proj"
        );
        assert_eq!(
            Site {
                layer: 11,
                module: Module::Down
            }
            .path(),
            "model.layers.11.mlp.down_proj"
        );
    }

    #[test]
    fn a_site_map_returns_what_was_put_and_nothing_else() {
        let mut map = SiteMap::default();
        map.insert(
            Site {
                layer: 2,
                module: Module::Up,
            },
            'u',
        );
        map.insert(
            Site {
                layer: 0,
                module: Module::K,
            },
            'k',
        );
        assert_eq!(
            map.get(Site {
                layer: 2,
                module: Module::Up
            }),
            Some(&'u')
        );
        assert_eq!(
            map.get(Site {
                layer: 2,
                module: Module::Down
            }),
            None
        );
        assert_eq!(
            map.get(Site {
                layer: 9,
                module: Module::Q
            }),
            None
        );
        let order: Vec<_> = map
            .iter()
            .map(|(site, value)| (site.layer, *value))
            .collect();
        assert_eq!(order, [(0, 'k'), (2, 'u')]);
    }
}
