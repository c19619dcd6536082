"""Colours, fonts and sizes of everything that Gradio draws.

The one place where Gradio's theme variables are set; `static/forms.css` shapes what has no
variable. Colours are those of the rest of the page: zinc, one indigo accent, never pure black.
"""

from __future__ import annotations

from gradio.themes import Base, Font, colors, sizes

SANS = ("Inter Variable", "system-ui", "sans-serif")
MONO = ("JetBrains Mono Variable", "ui-monospace", "monospace")

# Light value, dark value.
PALETTE = {
    "body_background_fill": ("#ffffff", "#17171a"),
    "body_text_color": ("#18181b", "#ececf1"),
    "body_text_color_subdued": ("#5f5f6b", "#a9a9b6"),
    "background_fill_primary": ("#ffffff", "#17171a"),
    "background_fill_secondary": ("#f7f7f8", "#111113"),
    "border_color_primary": ("#e4e4e7", "#2b2b31"),
    "border_color_accent": ("#4f46e5", "#818cf8"),
    "color_accent_soft": ("#eef0ff", "#26263a"),
    "link_text_color": ("#4f46e5", "#a5b4fc"),
    "link_text_color_hover": ("#4338ca", "#c7d2fe"),
    "block_background_fill": ("transparent", "transparent"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_label_text_color": ("#18181b", "#ececf1"),
    "block_title_text_color": ("#18181b", "#ececf1"),
    "block_info_text_color": ("#5f5f6b", "#a9a9b6"),
    "block_shadow": ("none", "none"),
    "input_background_fill": ("#ffffff", "#222226"),
    "input_background_fill_focus": ("#ffffff", "#222226"),
    "input_border_color": ("#d4d4d8", "#3a3a42"),
    "input_border_color_focus": ("#4f46e5", "#818cf8"),
    "input_placeholder_color": ("#70707b", "#8e8e9b"),
    "input_shadow_focus": ("0 0 0 3px #4f46e52e", "0 0 0 3px #818cf840"),
    "slider_color": ("#4f46e5", "#818cf8"),
    "checkbox_background_color_selected": ("#4f46e5", "#6366f1"),
    "checkbox_border_color_selected": ("#4f46e5", "#6366f1"),
    "button_primary_background_fill": ("#4f46e5", "#4f46e5"),
    "button_primary_background_fill_hover": ("#4338ca", "#6366f1"),
    "button_primary_text_color": ("#ffffff", "#ffffff"),
    "button_secondary_background_fill": ("#ffffff", "#222226"),
    "button_secondary_background_fill_hover": ("#f4f4f5", "#2a2a30"),
    "button_secondary_border_color": ("#d4d4d8", "#3a3a42"),
    "button_secondary_text_color": ("#18181b", "#ececf1"),
    "error_background_fill": ("#fef2f2", "#2a1618"),
    "error_border_color": ("#fecaca", "#5c2327"),
    "error_text_color": ("#b91c1c", "#f87171"),
}
# One value for both.
SHAPES = {
    "block_border_width": "0px",
    "block_label_border_width": "0px",
    "block_padding": "0px",
    "block_title_text_size": "14px",
    "block_title_text_weight": "550",
    "block_label_text_weight": "550",
    "block_info_text_size": "13px",
    "block_info_text_weight": "400",
    "form_gap_width": "0px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_text_size": "14.5px",
    "button_border_width": "1px",
    "button_large_text_size": "14.5px",
    "button_large_text_weight": "550",
    "button_small_text_size": "13.5px",
    "button_small_text_weight": "500",
    "button_transform_hover": "none",
    "button_transform_active": "none",
    "button_primary_shadow": "none",
    "button_primary_shadow_hover": "none",
    "button_primary_border_color": "transparent",
    "button_secondary_shadow": "none",
    "button_secondary_shadow_hover": "none",
}


def create_theme() -> Base:
    """Return the theme of the page; its fonts are served by us, nothing is fetched outside."""
    values = dict(SHAPES)
    for name, (light, dark) in PALETTE.items():
        values |= {name: light, f"{name}_dark": dark}
    theme = Base(
        primary_hue=colors.indigo,
        secondary_hue=colors.indigo,
        neutral_hue=colors.zinc,
        radius_size=sizes.radius_lg,
        text_size=sizes.text_md,
        font=[Font(name) for name in SANS],
        font_mono=[Font(name) for name in MONO],
    )
    return theme.set(**values)
