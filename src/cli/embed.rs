//! `embed`: texts in, vectors out.

use serde_json::{Map, Value, json};

use super::{Client, Failure, Output};
use crate::domain::Pooling;

#[derive(Debug, Clone, clap::Args)]
pub struct EmbedArgs {
    /// The texts; `-` reads them from standard input, one a line
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<String>,
    /// The adapter to embed with; the base model without it
    #[arg(long, value_name = "NAME[@GENERATION]")]
    adapter: Option<String>,
    /// Which hidden states make the vector: that of the last token, or the mean over all [default: last]
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Pooling::NAMES))]
    pooling: Option<String>,
    /// So many leading numbers of each vector, scaled to length 1 again [default: all]
    #[arg(long, value_name = "N")]
    dimensions: Option<u32>,
}

pub async fn embed(client: &Client, args: &EmbedArgs, output: Output) -> Result<(), Failure> {
    let texts = match args.texts.as_slice() {
        [only] if only == "-" => {
            let text = std::io::read_to_string(std::io::stdin())?;
            text.lines().map(str::to_owned).collect()
        }
        texts => texts.to_vec(),
    };
    let mut body = Map::from_iter([("input".to_owned(), json!(texts))]);
    for (name, value) in [
        ("adapter", json!(args.adapter)),
        ("pooling", json!(args.pooling)),
        ("dimensions", json!(args.dimensions)),
    ] {
        body.insert(name.to_owned(), value);
    }
    let body = Value::Object(body);
    let made = client.post(&["v1", "embeddings"], &body).await?;
    output.show(&made, lines)
}

/// A vector a line, its numbers separated by spaces.
fn lines(made: &Value) -> String {
    let line = |item: &Value| {
        let numbers = item["embedding"].as_array().into_iter().flatten();
        numbers.map(Value::to_string).collect::<Vec<_>>().join(" ")
    };
    let items = made["data"].as_array().into_iter().flatten();
    items.map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_a_line_of_numbers() {
        let made = json!({"data": [{"embedding": [0.6, -0.8]}, {"embedding": [1.0, 0.0]}]});
        assert_eq!(lines(&made), "0.6 -0.8\n1.0 0.0");
    }
}
