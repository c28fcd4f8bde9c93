"""Pages for people: one self-contained HTML file each, with figures as inline SVG."""
