//! What a language model looks like, and the names of its parts.

use crate::Activation;

/// What a language model looks like.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of published models"
)]
pub struct CausalSpec {
    /// Width of the layers.
    pub width: usize,
    /// Width of token embeddings and of the states behind the last norm; differs from `width` in OPT-350m only.
    pub embedding_width: usize,
    /// Rows of the token table.
    pub vocabulary_size: usize,
    /// The longest sequence.
    pub context: usize,
    /// Layers.
    pub depth: usize,
    /// Heads; MUST divide the width.
    pub heads: usize,
    /// Width between the two maps of the feed-forward layer.
    pub hidden: usize,
    /// Activation between them.
    pub activation: Activation,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
    /// How the halves of a layer stand to one another.
    pub arrangement: Arrangement,
    /// How positions are told.
    pub positions: Positions,
    /// Whether queries, keys, values and the attention's output have a bias.
    pub attention_bias: bool,
    /// Whether the feed-forward layer has one.
    pub feed_forward_bias: bool,
    /// Whether norms have one.
    pub norm_bias: bool,
    /// Whether weights of the layers are stored `[input, output]` (GPT-2).
    pub is_transposed: bool,
    /// What was put behind the feed-forward layer of each layer, if anything was.
    pub adapter: Option<AdapterSpec>,
    /// Names in the checkpoint.
    pub names: CausalNames,
}

/// An adapter behind a feed-forward layer (Houlsby et al. 2019, arXiv 1902.00751, figure 2): `y + up(relu(down(y)))` of
/// what that layer makes, so that a language model that stays as it is can learn (MAGMA, arXiv 2112.05253, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterSpec {
    /// Width between the two maps.
    pub hidden: usize,
    /// Names in the checkpoint.
    pub names: AdapterNames,
}

/// Names in a layer whose feed-forward layer became the sequence of itself and an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterNames {
    /// The feed-forward layer's first map, in place of [`CausalNames::expand`].
    pub expand: &'static str,
    /// Its second map, in place of [`CausalNames::contract`].
    pub contract: &'static str,
    /// The adapter's first map, `[hidden, width]` with a bias.
    pub down: &'static str,
    /// Its second map, `[width, hidden]` with a bias.
    pub up: &'static str,
}

impl AdapterNames {
    /// Those of MAGMA's GPT-J.
    pub const MAGMA: Self = Self {
        expand: "mlp.0.fc_in",
        contract: "mlp.0.fc_out",
        down: "mlp.1.adapter.0",
        up: "mlp.1.adapter.2",
    };
}

/// How attention, feed-forward layer and norms of a layer stand to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One after the other, norms before them.
    Pre,
    /// One after the other, norms behind them.
    Post,
    /// Side by side, norms before them.
    Parallel,
}

/// How positions are told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// A trained vector for each, added to the token's.
    Learned {
        /// Rows of the table.
        rows: usize,
        /// The row of position 0.
        offset: usize,
    },
    /// Queries and keys are turned by their position (Su et al. 2021, arXiv 2104.09864).
    Rotary {
        /// How many elements of each head are turned, an even number.
        dims: usize,
        /// Of the frequencies `base^(-2i / dims)`.
        base: f64,
        /// Which elements are turned together.
        pairing: Pairing,
    },
    /// Scores fall with the distance (Press et al. 2022, arXiv 2108.12409).
    Alibi {
        /// The slopes are `2^(-bias_max * h / heads)`.
        bias_max: f64,
    },
}

/// Which elements rotary positions turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `i` and `i + dims / 2`: GPT-NeoX, LLaMA.
    Halves,
    /// `2 i` and `2 i + 1`: GPT-J.
    Neighbours,
}

/// Names of a language model's parts. Those of the layers stand below `layers.i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CausalNames {
    /// The token table.
    pub tokens: &'static str,
    /// The position table, of learned positions.
    pub positions: &'static str,
    /// What stands before the layers' numbers.
    pub layers: &'static str,
    /// Queries, keys and values.
    pub projections: Projections,
    /// The attention's output.
    pub out: &'static str,
    /// The norm of the attention.
    pub attention_norm: &'static str,
    /// The feed-forward layer's first map.
    pub expand: &'static str,
    /// Its second map.
    pub contract: &'static str,
    /// Its norm; may be that of the attention (GPT-J).
    pub feed_forward_norm: &'static str,
    /// The norm behind the last layer.
    pub norm_after: Option<&'static str>,
    /// The maps between the widths of embeddings and layers, where these differ.
    pub project: [&'static str; 2],
    /// What makes logits.
    pub head: HeadName,
    /// Below a layer: buffers that older checkpoints hold and no model needs.
    pub buffers: &'static [&'static str],
}

/// How queries, keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projections {
    /// Each under its own name.
    Apart {
        /// Queries.
        query: &'static str,
        /// Keys.
        key: &'static str,
        /// Values.
        value: &'static str,
    },
    /// In one tensor: all queries, all keys, all values.
    Together(&'static str),
    /// In one tensor: queries, keys and values of the first head, then those of the second, ….
    PerHead(&'static str),
}

/// What makes logits. Its name is no part of the scope in which the other parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadName {
    /// The token table.
    Tied,
    /// A map of its own.
    Own {
        /// Its name.
        name: &'static str,
        /// Whether it has a bias.
        has_bias: bool,
    },
}

impl CausalNames {
    /// Those of GPT-2.
    pub const GPT2: Self = Self {
        tokens: "wte",
        positions: "wpe",
        layers: "h",
        projections: Projections::Together("attn.c_attn"),
        out: "attn.c_proj",
        attention_norm: "ln_1",
        expand: "mlp.c_fc",
        contract: "mlp.c_proj",
        feed_forward_norm: "ln_2",
        norm_after: Some("ln_f"),
        project: ["", ""],
        head: HeadName::Tied,
        buffers: &["attn.bias", "attn.masked_bias"],
    };

    /// Those of GPT-J.
    pub const GPTJ: Self = Self {
        projections: Projections::Apart {
            query: "attn.q_proj",
            key: "attn.k_proj",
            value: "attn.v_proj",
        },
        out: "attn.out_proj",
        expand: "mlp.fc_in",
        contract: "mlp.fc_out",
        feed_forward_norm: "ln_1",
        head: HeadName::Own {
            name: "lm_head",
            has_bias: true,
        },
        ..Self::GPT2
    };

    /// Those of OPT, below `decoder`.
    pub const OPT: Self = Self {
        tokens: "embed_tokens",
        positions: "embed_positions",
        layers: "layers",
        projections: Projections::Apart {
            query: "self_attn.q_proj",
            key: "self_attn.k_proj",
            value: "self_attn.v_proj",
        },
        out: "self_attn.out_proj",
        attention_norm: "self_attn_layer_norm",
        expand: "fc1",
        contract: "fc2",
        feed_forward_norm: "final_layer_norm",
        norm_after: Some("final_layer_norm"),
        project: ["project_in", "project_out"],
        head: HeadName::Tied,
        buffers: &[],
    };

    /// Those of GPT-NeoX.
    pub const NEOX: Self = Self {
        tokens: "embed_in",
        positions: "",
        layers: "layers",
        projections: Projections::PerHead("attention.query_key_value"),
        out: "attention.dense",
        attention_norm: "input_layernorm",
        expand: "mlp.dense_h_to_4h",
        contract: "mlp.dense_4h_to_h",
        feed_forward_norm: "post_attention_layernorm",
        norm_after: Some("final_layer_norm"),
        project: ["", ""],
        head: HeadName::Own {
            name: "embed_out",
            has_bias: false,
        },
        buffers: &[
            "attention.bias",
            "attention.masked_bias",
            "attention.rotary_emb",
        ],
    };

    /// Those of MPT.
    pub const MPT: Self = Self {
        tokens: "wte",
        positions: "",
        layers: "blocks",
        projections: Projections::Together("attn.Wqkv"),
        out: "attn.out_proj",
        attention_norm: "norm_1",
        expand: "ffn.up_proj",
        contract: "ffn.down_proj",
        feed_forward_norm: "norm_2",
        norm_after: Some("norm_f"),
        project: ["", ""],
        head: HeadName::Tied,
        buffers: &[],
    };
}
