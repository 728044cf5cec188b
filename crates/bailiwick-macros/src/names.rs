//! The module of a model's columns: what it is called, and how types are named from inside it.
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Path, PathArguments};

/// `task` for `Task`: the module of the columns of the model called `name`. None if Rust has no such name.
pub(crate) fn module(name: &Ident, span: Span) -> Option<Ident> {
    let module = snake_case(&name.to_string());
    if syn::parse_str::<Ident>(&module).is_ok() {
        return Some(Ident::new(&module, span));
    }
    // These keywords cannot be written raw either.
    let reserved = matches!(module.as_str(), "self" | "super" | "crate" | "_");
    (!reserved).then(|| Ident::new_raw(&module, span))
}

/// The path to the column `field` of the model at `model`: `some::task::title` for `some::Task`. Every token
/// points at `span`, so that a column that is missing or not writable is shown at the field that wanted it.
pub(crate) fn column(model: &Path, field: &Ident, span: Span) -> Option<TokenStream> {
    let last = model.segments.last()?;
    let module = module(&last.ident, span)?;
    let mut field = field.clone();
    field.set_span(span);
    let leading = model.leading_colon.map(|_| quote_spanned!(span=> ::));
    let before = model.segments.iter().take(model.segments.len() - 1).map(|segment| {
        let mut ident = segment.ident.clone();
        ident.set_span(span);
        quote_spanned!(span=> #ident::)
    });
    Some(quote_spanned!(span=> #leading #(#before)* #module::#field))
}

/// Whether `path` can name a model: no arguments anywhere.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.segments.iter().all(|segment| matches!(segment.arguments, PathArguments::None))
}

/// `api_token` for `APIToken`, `task_v2` for `TaskV2`.
fn snake_case(name: &str) -> String {
    let characters: Vec<char> = name.strip_prefix("r#").unwrap_or(name).chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, character) in characters.iter().enumerate() {
        if character.is_uppercase() && at > 0 {
            let before = characters[at - 1];
            let ends_word = before.is_lowercase() || before.is_numeric();
            let begins_word =
                before.is_uppercase() && characters.get(at + 1).is_some_and(|next| next.is_lowercase());
            if ends_word || begins_word {
                snake.push('_');
            }
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// The type `ty` of a field of `model`, as written outside of the model's impl: `Self` means nothing there.
pub(crate) fn beside(ty: impl ToTokens, model: &Ident) -> TokenStream {
    rewrite(ty.to_token_stream(), &|ident, _| (ident == "Self").then(|| quote!(#model)))
}

/// The type `ty` of a field of `model`, as written in a module beside the model that does `use super::*`.
pub(crate) fn one_deeper(ty: impl ToTokens, model: &Ident) -> TokenStream {
    rewrite(ty.to_token_stream(), &|ident, begins_path| {
        let span = ident.span();
        if ident == "Self" {
            Some(quote_spanned!(span=> super::#model))
        } else if begins_path && ident == "self" {
            Some(quote_spanned!(span=> super))
        } else if begins_path && ident == "super" {
            Some(quote_spanned!(span=> super::super))
        } else {
            None
        }
    })
}

/// Replaces identifiers; `with` is told whether the identifier begins a path.
fn rewrite(tokens: TokenStream, with: &dyn Fn(&Ident, bool) -> Option<TokenStream>) -> TokenStream {
    let mut rewritten = TokenStream::new();
    let mut after_colons = 0;
    for token in tokens {
        let begins_path = after_colons < 2;
        after_colons = match &token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => after_colons + 1,
            _ => 0,
        };
        match token {
            TokenTree::Ident(ident) => match with(&ident, begins_path) {
                Some(other) => rewritten.extend(other),
                None => rewritten.extend([TokenTree::Ident(ident)]),
            },
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), rewrite(group.stream(), with));
                inner.set_span(group.span());
                rewritten.extend([TokenTree::Group(inner)]);
            }
            other => rewritten.extend([other]),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(name: &str) -> Ident {
        Ident::new(name, Span::call_site())
    }

    #[test]
    fn modules_are_called_like_their_models() {
        for (model, module) in [
            ("Task", "task"),
            ("TaskComment", "task_comment"),
            ("APIToken", "api_token"),
            ("TaskV2", "task_v2"),
            ("V2Task", "v2_task"),
            ("X", "x"),
        ] {
            assert_eq!(snake_case(model), module);
        }
        assert_eq!(module(&ident("Match"), Span::call_site()).unwrap().to_string(), "r#match");
        assert!(module(&ident("Super"), Span::call_site()).is_none());
    }

    #[test]
    fn a_type_names_the_same_thing_one_module_deeper() {
        for (here, deeper) in [
            ("String", "String"),
            ("Id < Self >", "Id < super :: Task >"),
            ("super :: Status", "super :: super :: Status"),
            ("super :: super :: Status", "super :: super :: super :: Status"),
            ("self :: status :: Status", "super :: status :: Status"),
            ("crate :: a :: Status", "crate :: a :: Status"),
            ("Option < super :: Id < self :: User > >", "Option < super :: super :: Id < super :: User > >"),
            (":: std :: string :: String", ":: std :: string :: String"),
        ] {
            let ty: syn::Type = syn::parse_str(here).unwrap();
            let expected: TokenStream = deeper.parse().unwrap();
            assert_eq!(one_deeper(ty, &ident("Task")).to_string(), expected.to_string());
        }
    }

    #[test]
    fn a_column_is_found_beside_its_model() {
        let path = |text: &str| syn::parse_str::<Path>(text).unwrap();
        let column = |model| column(&path(model), &ident("title"), Span::call_site()).unwrap().to_string();
        assert_eq!(column("Task"), "task :: title");
        assert_eq!(column("crate::some::TaskComment"), "crate :: some :: task_comment :: title");
    }
}
