//! Reads attributes, and collects everything that is wrong with them.
use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Expr, Field, Fields, Ident, Meta, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
    token,
};

/// All that is wrong with what a derive stands on: a user should not have to compile once for each mistake.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Something is wrong with `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// Something is wrong at `span`.
    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.add(syn::Error::new(span, message));
    }

    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What to give to the compiler: nothing, if nothing is wrong.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(|errors| errors.into_compile_error()).unwrap_or_default()
    }
}

/// One entry of an attribute: `key`, `key = value` or `key(…)`.
pub(crate) struct Item {
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

/// What follows the key of an [`Item`].
pub(crate) enum Value {
    None,
    Expr(Box<Expr>),
    List(TokenStream),
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        // `for` and `in` are keywords, and good names for what they do.
        let key = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(Box::new(input.parse()?))
        } else if input.peek(token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            Value::List(content.parse()?)
        } else {
            Value::None
        };
        Ok(Self { key, value })
    }
}

impl Item {
    /// Notes an error unless the entry is a bare word.
    pub(crate) fn must_be_bare(&self, errors: &mut Errors) {
        if !matches!(self.value, Value::None) {
            errors.at(self.key.span(), format_args!("`{0}` takes no value: write `{0}`", self.key));
        }
    }

    /// The value of `key = value`, or an error that says to write `example`.
    pub(crate) fn expr(&self, example: &str, errors: &mut Errors) -> Option<&Expr> {
        match &self.value {
            Value::Expr(expr) => Some(expr),
            Value::None | Value::List(_) => {
                errors.at(self.key.span(), format_args!("`{}` needs a value: write `{example}`", self.key));
                None
            }
        }
    }

    /// The content of `key(…)`, or an error that says to write `example`.
    pub(crate) fn list(&self, example: &str, errors: &mut Errors) -> Option<&TokenStream> {
        match &self.value {
            Value::List(list) => Some(list),
            Value::None | Value::Expr(_) => {
                errors.at(self.key.span(), format_args!("`{}` needs a list: write `{example}`", self.key));
                None
            }
        }
    }
}

/// The entries of all attributes that are called `name`, a key that is given twice being an error.
pub(crate) fn items(attributes: &[Attribute], name: &str, errors: &mut Errors) -> Vec<Item> {
    let mut all: Vec<Item> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        let Meta::List(list) = &attribute.meta else {
            errors.on(&attribute.meta, format_args!("write what it says in parentheses: #[{name}(…)]"));
            continue;
        };
        all.extend(unique(list.tokens.clone(), &all, errors));
    }
    all
}

/// The entries in `tokens`; one whose key is there already, or in `before`, is an error.
pub(crate) fn unique(tokens: TokenStream, before: &[Item], errors: &mut Errors) -> Vec<Item> {
    let parsed = match Punctuated::<Item, Token![,]>::parse_terminated.parse2(tokens) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.add(error);
            return Vec::new();
        }
    };
    let mut items: Vec<Item> = Vec::new();
    for item in parsed {
        if before.iter().chain(&items).any(|earlier| earlier.key == item.key) {
            errors.at(item.key.span(), format_args!("`{}` is written twice: once is enough", item.key));
        } else {
            items.push(item);
        }
    }
    items
}

/// Notes that `key` is not one of `known`.
pub(crate) fn unknown(key: &Ident, known: &[&str], errors: &mut Errors) {
    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    errors.at(key.span(), format_args!("`{key}` is not known here; known are {}", known.join(", ")));
}

/// The fields of a struct with named fields and without parameters; anything else is an error.
pub(crate) fn named_fields<'a>(
    input: &'a DeriveInput,
    what: &str,
    errors: &mut Errors,
) -> Option<Vec<&'a Field>> {
    if !input.generics.params.is_empty() {
        errors.on(&input.generics, format_args!("{what} has no parameters: write one struct for each"));
        return None;
    }
    if let Data::Struct(data) = &input.data {
        match &data.fields {
            Fields::Named(fields) => return Some(fields.named.iter().collect()),
            Fields::Unit => return Some(Vec::new()),
            Fields::Unnamed(_) => {}
        }
    }
    errors.at(input.ident.span(), format_args!("{what} is a struct with named fields"));
    None
}

/// The name of a field as SQL and JSON have it: without `r#`.
pub(crate) fn name_of(field: &Ident) -> String {
    field.unraw().to_string()
}

/// Where a diagnostic about code of ours should point: at `place`, but as code that a macro wrote.
pub(crate) fn code_at(place: Span) -> Span {
    Span::call_site().located_at(place)
}

/// Where a diagnostic about a type should point.
pub(crate) fn code_at_type(ty: &Type) -> Span {
    use syn::spanned::Spanned as _;
    code_at(ty.span())
}
