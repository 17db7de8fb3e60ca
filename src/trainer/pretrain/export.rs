//! The finished base as one GGUF file: weights, tokenizer and chat template.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::network::{Network, Shape};
use super::run::Failure;
use super::state;
use super::tokenizer::{BEGIN, CHAT_TEMPLATE, END, SPECIAL};
use crate::device::Array;
use crate::kernels::quant::Format;
use crate::model::arch::LLAMA;
use crate::model::spec::{Biases, Rope, Scaling, Spec};
use crate::model::weights::gguf::{Contents, write};
use crate::text::{ChatTemplate, Specials, Tokenizer};

const NAME: &str = "adapterd-base";
/// Longer than any record of the corpus; rotary positions beyond those seen are only as good as they happen to be.
const CONTEXT: usize = 1024;

/// Writes `model.gguf` beside the `model.safetensors` and `tokenizer.json` of `folder`.
pub fn export_folder(folder: &Path) -> Result<(), Failure> {
    let mut network = state::load_network(&folder.join("model.safetensors"), &Shape::BASE)?;
    let tokenizer = fs::read_to_string(folder.join("tokenizer.json"))?;
    export(
        &folder.join("model.gguf"),
        &Shape::BASE,
        &mut network,
        &tokenizer,
    )
}

/// Writes `path`, matrices as Q8_0.
pub fn export(
    path: &Path,
    shape: &Shape,
    network: &mut Network,
    tokenizer: &str,
) -> Result<(), Failure> {
    let specials = Specials {
        named: BTreeMap::from([
            ("bos_token".to_owned(), BEGIN.to_owned()),
            ("eos_token".to_owned(), END.to_owned()),
            ("pad_token".to_owned(), SPECIAL[0].to_owned()),
        ]),
        ..Specials::default()
    };
    let template = ChatTemplate::of(CHAT_TEMPLATE, &specials).map_err(misfit)?;
    let tokenizer = Tokenizer::from_json(tokenizer.as_bytes(), specials).map_err(misfit)?;
    let mut tensors = BTreeMap::new();
    for (name, _, tensor) in network.tensors() {
        let made = Array::new(tensor.data.clone(), (tensor.rows, tensor.columns));
        tensors.insert(name, made.map_err(misfit)?);
    }
    let contents = Contents {
        name: NAME,
        spec: &spec(shape),
        tensors: &tensors,
        tokenizer: &tokenizer,
        template: &template,
        format: Format::Q8_0,
    };
    write(path, &contents).map_err(misfit)
}

fn misfit(why: impl std::fmt::Display) -> Failure {
    Failure::Misfit(why.to_string())
}

fn spec(shape: &Shape) -> Spec {
    Spec {
        arch: &LLAMA,
        hidden: shape.width,
        layers: shape.layers,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_width,
        intermediate: shape.ffn,
        vocab: shape.vocabulary,
        norm_eps: f64::from(shape.epsilon),
        rope: Rope {
            theta: f64::from(shape.theta),
            scaling: Scaling::None,
        },
        windows: vec![None; shape.layers],
        bias: Biases::default(),
        head_norm: false,
        tied: false,
        context: CONTEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{init, tokenizer};
    use super::*;
    use crate::model::{Base, KvKind, Origin};

    #[test]
    fn a_base_written_out_opens_as_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let mut network = init::network(&Shape::BASE, 1);
        let learned = tokenizer::learn(1, 100).unwrap().to_string(false).unwrap();
        export(&path, &Shape::BASE, &mut network, &learned).unwrap();
        let base = Base::open(&Origin::Gguf(path), None, KvKind::Auto).unwrap();
        assert_eq!(
            (base.model.vocab(), base.model.layers()),
            (Shape::BASE.vocabulary, Shape::BASE.layers)
        );
        assert_eq!(
            base.tokenizer.token_bytes(base.tokenizer.eos()[0]),
            END.as_bytes()
        );
    }
}
