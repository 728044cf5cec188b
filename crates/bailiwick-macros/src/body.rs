//! `#[derive(Input)]` and `#[derive(Patch)]`.
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    DeriveInput, Expr, ExprLit, ExprRange, Field, GenericArgument, Ident, Lit, Path, PathArguments,
    RangeLimits, Type,
};

use crate::{
    attr::{Errors, Item, Value, code_at, code_at_type, items, name_of, named_fields, unknown},
    names,
};

/// Which of the two bodies.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Input,
    Patch,
}

impl Kind {
    /// The name of its attribute.
    const fn attribute(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Patch => "patch",
        }
    }

    const fn field_keys(self) -> &'static [&'static str] {
        match self {
            Self::Input => &["chars", "lines", "default"],
            Self::Patch => &["chars", "lines"],
        }
    }
}

struct Member<'a> {
    ident: &'a Ident,
    name: String,
    /// The type of the value: for a patch, what is inside of `Change`.
    ty: &'a Type,
    chars: Option<TokenStream>,
    /// Whether the text may have more than one line.
    lines: bool,
    default: Option<TokenStream>,
}

impl Member<'_> {
    /// The variable that holds the member while the body is read; it cannot meet a name of the user's.
    fn variable(&self) -> Ident {
        Ident::new(&format!("member_{}", self.name), Span::mixed_site())
    }
}

pub(crate) fn derive(input: &DeriveInput, kind: Kind) -> TokenStream {
    let mut errors = Errors::default();
    let (what, attribute) = match kind {
        Kind::Input => ("an input", "input"),
        Kind::Patch => ("a patch", "patch"),
    };
    let fields = named_fields(input, what, &mut errors);
    // An input for no model is a body that no row is made of, such as a log-in.
    let plain = kind == Kind::Input && !has_attribute(input, attribute);
    let model = if plain { None } else { model(input, attribute, "for", &mut errors) };
    let members: Vec<_> =
        fields.into_iter().flatten().filter_map(|field| member(field, kind, &mut errors)).collect();
    if !errors.is_empty() {
        return errors.into_tokens();
    }
    let reading = reading(input, kind, &members);
    match model {
        Some(model) => {
            let assigning = assigning(input, kind, &model, &members);
            quote!(#reading #assigning)
        }
        None => reading,
    }
}

fn has_attribute(input: &DeriveInput, name: &str) -> bool {
    input.attrs.iter().any(|attribute| attribute.path().is_ident(name))
}

/// The model that `#[attribute(key = Model)]` names.
pub(crate) fn model(input: &DeriveInput, attribute: &str, key: &str, errors: &mut Errors) -> Option<Path> {
    let mut found = false;
    let mut model = None;
    for item in items(&input.attrs, attribute, errors) {
        if item.key != key {
            unknown(&item.key, &[key], errors);
            continue;
        }
        found = true;
        let Some(expr) = item.expr(&format!("{key} = Task"), errors) else { continue };
        match expr {
            Expr::Path(path)
                if path.qself.is_none()
                    && names::is_plain(&path.path)
                    && names::column(&path.path, &input.ident, Span::call_site()).is_some() =>
            {
                model = Some(path.path.clone());
            }
            other => errors.on(other, format_args!("this names no model: write `{key} = Task`")),
        }
    }
    if !found {
        let message = format_args!("say which model it is {key}: #[{attribute}({key} = Task)]");
        errors.at(input.ident.span(), message);
    }
    model
}

fn member<'a>(field: &'a Field, kind: Kind, errors: &mut Errors) -> Option<Member<'a>> {
    let ident = field.ident.as_ref()?;
    let ty = match kind {
        Kind::Input => Some(&field.ty),
        Kind::Patch => changed(&field.ty),
    };
    if ty.is_none() {
        use quote::ToTokens as _;
        let written = field.ty.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">");
        let message = format_args!(
            "a field of a patch is a `Change<_>`, so that an absent member is told from one that is null: \
             write `Change<{written}>`",
        );
        errors.on(&field.ty, message);
    }
    let mut chars = None;
    let mut lines = None;
    let mut default = None;
    for item in items(&field.attrs, kind.attribute(), errors) {
        match item.key.to_string().as_str() {
            "chars" => chars = range(&item, errors),
            "lines" => {
                item.must_be_bare(errors);
                lines = Some(item.key);
            }
            "default" if kind == Kind::Patch => {
                errors.at(item.key.span(), "a patch has no defaults: absent members stay as they are");
            }
            "default" => default = default_of(&item, &field.ty, errors),
            _ => unknown(&item.key, kind.field_keys(), errors),
        }
    }
    if let (Some(lines), None) = (&lines, &chars) {
        errors.at(lines.span(), "say how many characters they may have: write `chars(..=10_000), lines`");
    }
    Some(Member { ident, name: name_of(ident), ty: ty?, chars, lines: lines.is_some(), default })
}

/// `T` of `Change<T>`.
fn changed(ty: &Type) -> Option<&Type> {
    let path = match ty {
        Type::Path(path) if path.qself.is_none() => &path.path,
        // What a macro_rules fragment is wrapped in.
        Type::Group(group) => return changed(&group.elem),
        _ => return None,
    };
    let last = path.segments.last().filter(|segment| segment.ident == "Change")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty),
        _ => None,
    }
}

/// The range in `chars(1..=200)`.
fn range(item: &Item, errors: &mut Errors) -> Option<TokenStream> {
    const EXAMPLE: &str = "chars(1..=200)";
    let list = item.list(EXAMPLE, errors)?;
    let Ok(expr) = syn::parse2::<Expr>(list.clone()) else {
        errors.at(item.key.span(), format_args!("say how many characters: write `{EXAMPLE}`"));
        return None;
    };
    let Expr::Range(ExprRange { start, limits, end, .. }) = &expr else {
        errors.on(&expr, format_args!("say the least and the most characters: write `{EXAMPLE}`"));
        return None;
    };
    let Some(end) = end else {
        errors.on(&expr, format_args!("text needs an upper limit: write `{EXAMPLE}`"));
        return None;
    };
    if matches!(limits, RangeLimits::HalfOpen(_)) {
        errors.on(&expr, format_args!("the most characters are included: write `..=`, as in `{EXAMPLE}`"));
        return None;
    }
    if let (Some(least), Some(most)) = (start.as_deref().and_then(number), number(end))
        && least > most
    {
        errors.on(&expr, "no text has as many: the least is more than the most");
        return None;
    }
    Some(match start {
        Some(start) => quote!(#start..=#end),
        None => quote!(0..=#end),
    })
}

fn number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        _ => None,
    }
}

/// The expression for a member that is absent.
fn default_of(item: &Item, ty: &Type, errors: &mut Errors) -> Option<TokenStream> {
    let span = code_at_type(ty);
    match &item.value {
        Value::None => Some(quote_spanned!(span=> <#ty as ::core::default::Default>::default())),
        // So that a String's default can be written like one.
        Value::Expr(expr) if matches!(**expr, Expr::Lit(ExprLit { lit: Lit::Str(_), .. })) => {
            Some(quote_spanned!(span=> ::core::convert::From::from(#expr)))
        }
        Value::Expr(expr) => Some(quote!(#expr)),
        Value::List(_) => {
            errors.at(item.key.span(), "write `default`, or `default = …`");
            None
        }
    }
}

fn reading(input: &DeriveInput, kind: Kind, members: &[Member<'_>]) -> TokenStream {
    let body = &input.ident;
    let names = members.iter().map(|member| &member.name);
    let object = Ident::new("object", Span::mixed_site());
    let reads = members.iter().map(|member| read(member, kind, &object));
    let fields = members.iter().map(|member| {
        let (ident, variable) = (member.ident, member.variable());
        quote!(#ident: ::bailiwick::model::derive::read(#variable))
    });
    // Without members there is nothing to read.
    let mutable = (!members.is_empty()).then(|| quote!(mut));
    quote! {
        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::FromJson for #body {
            fn from_json(
                body: ::bailiwick::model::json::Json<'_>,
            ) -> ::core::result::Result<Self, ::std::vec::Vec<::bailiwick::model::FieldError>> {
                let #mutable #object = ::bailiwick::model::ObjectReader::new(body, &[#(#names),*]);
                #(#reads)*
                #object.finish()?;
                ::core::result::Result::Ok(Self { #(#fields),* })
            }
        }
    }
}

fn assigning(input: &DeriveInput, kind: Kind, model: &Path, members: &[Member<'_>]) -> TokenStream {
    let body = &input.ident;
    let assignments = Ident::new("assignments", Span::mixed_site());
    let puts = members.iter().filter_map(|member| put(member, kind, model, &assignments));
    // Without members there is nothing to change.
    let mutable = (!members.is_empty()).then(|| quote!(mut));
    let marker = Ident::new(if kind == Kind::Input { "Input" } else { "Patch" }, Span::call_site());
    quote! {
        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::Body for #body {
            type For = #model;

            fn into_assignments(self) -> ::bailiwick::model::Assignments<#model> {
                let #mutable #assignments = ::bailiwick::model::Assignments::<#model>::new();
                #(#puts)*
                #assignments
            }
        }

        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::#marker for #body {}
    }
}

fn read(member: &Member<'_>, kind: Kind, object: &Ident) -> TokenStream {
    let Member { name, ty, .. } = member;
    let variable = member.variable();
    let span = code_at_type(ty);
    let read = match (kind, &member.default) {
        (Kind::Patch, _) => quote_spanned!(span=> #object.change::<#ty>(#name)),
        (Kind::Input, Some(default)) => quote_spanned!(span=> #object.or_default::<#ty>(#name, || #default)),
        (Kind::Input, None) => quote_spanned!(span=> #object.required::<#ty>(#name)),
    };
    let lines = if member.lines { quote!(Many) } else { quote!(One) };
    let lines = quote!(::bailiwick::text::Lines::#lines);
    let check = member.chars.as_ref().map(|range| match kind {
        Kind::Input => {
            quote_spanned!(span=> #object.chars::<#ty>(#name, #variable.as_ref(), &(#range), #lines);)
        }
        Kind::Patch => quote_spanned!(span=>
            if let ::core::option::Option::Some(::bailiwick::model::Change::Set(value)) = &#variable {
                #object.chars::<#ty>(#name, ::core::option::Option::Some(value), &(#range), #lines);
            }
        ),
    });
    quote! {
        let #variable = #read;
        #check
    }
}

fn put(member: &Member<'_>, kind: Kind, model: &Path, assignments: &Ident) -> Option<TokenStream> {
    let Member { ident, name, ty, .. } = member;
    let at_field = code_at(ident.span());
    let at_type = code_at_type(ty);
    let column = names::column(model, ident, at_field)?;
    Some(match kind {
        Kind::Input => {
            let value = quote_spanned!(at_type=> self.#ident);
            quote_spanned!(at_field=> #assignments.put::<#ty, _, _>(#column, #name, #value);)
        }
        Kind::Patch => {
            let value = Ident::new("value", Span::mixed_site().located_at(at_type));
            quote_spanned!(at_field=>
                if let ::bailiwick::model::Change::Set(#value) = self.#ident {
                    #assignments.put::<#ty, _, _>(#column, #name, #value);
                }
            )
        }
    })
}
