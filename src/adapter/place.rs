//! Weights of a base by their paths, under the names Hugging Face gives them.

use super::{Module, NormAt, Site};

/// Where a weight of a decoder belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Embedding,
    Weight(Site),
    Bias(Site),
    Norm(NormAt),
    Head,
}

impl Place {
    /// `model.layers.3.self_attn.q_proj.weight`; `None` for paths that no decoder here has.
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "model.embed_tokens.weight" => return Some(Self::Embedding),
            "lm_head.weight" => return Some(Self::Head),
            _ if path == NormAt::Last.path() => return Some(Self::Norm(NormAt::Last)),
            _ => {}
        }
        let rest = path.strip_prefix("model.layers.")?;
        let layer = rest.split('.').next()?.parse().ok()?;
        let norms = [
            NormAt::Attention(layer),
            NormAt::FeedForward(layer),
            NormAt::Query(layer),
            NormAt::Key(layer),
        ];
        if let Some(norm) = norms.into_iter().find(|norm| norm.path() == path) {
            return Some(Self::Norm(norm));
        }
        let sites = Module::ALL.map(|module| Site { layer, module });
        sites.into_iter().find_map(|site| {
            let kind = path.strip_prefix(&site.path())?;
            match kind {
                ".weight" => Some(Self::Weight(site)),
                ".bias" => Some(Self::Bias(site)),
                _ => None,
            }
        })
    }

    pub fn path(self) -> String {
        match self {
            Self::Embedding => "model.embed_tokens.weight".to_owned(),
            Self::Weight(site) => site.path() + ".weight",
            Self::Bias(site) => site.path() + ".bias",
            Self::Norm(norm) => norm.path(),
            Self::Head => "lm_head.weight".to_owned(),
        }
    }

    /// Of the block that holds it.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embedding | Self::Head | Self::Norm(NormAt::Last) => None,
            Self::Weight(site) | Self::Bias(site) => Some(site.layer),
            Self::Norm(
                NormAt::Attention(layer)
                | NormAt::FeedForward(layer)
                | NormAt::Query(layer)
                | NormAt::Key(layer),
            ) => Some(layer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_read_as_it_is_written() {
        let site = Site {
            layer: 12,
            module: Module::Down,
        };
        for place in [
            Place::Embedding,
            Place::Weight(site),
            Place::Bias(site),
            Place::Norm(NormAt::Query(3)),
            Place::Norm(NormAt::FeedForward(0)),
            Place::Norm(NormAt::Last),
            Place::Head,
        ] {
            assert_eq!(Place::parse(&place.path()), Some(place));
        }
        for other in [
            "model.layers.x.mlp.up_proj.weight",
            "model.layers.1.mlp.up_proj",
            "noise",
        ] {
            assert_eq!(Place::parse(other), None);
        }
    }
}
