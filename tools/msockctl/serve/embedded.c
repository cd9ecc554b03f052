/* The page and its parts, which the linker has put into the program (see the Makefile). */
#include "serve.h"

#define EMBEDDED(name) extern const char _binary_##name##_start[], _binary_##name##_end[]

EMBEDDED(page_html);
EMBEDDED(page_css);
EMBEDDED(page_js);
EMBEDDED(icon_svg);
EMBEDDED(chart_min_js);

#define ROW(path, type, name)                                    \
    {                                                            \
        path, type, _binary_##name##_start, _binary_##name##_end \
    }

const struct embedded embedded_files[] = {
    ROW("/", "text/html; charset=utf-8", page_html),
    ROW("/page.css", "text/css; charset=utf-8", page_css),
    ROW("/page.js", "text/javascript; charset=utf-8", page_js),
    ROW("/chart.js", "text/javascript; charset=utf-8", chart_min_js),
    ROW("/icon.svg", "image/svg+xml", icon_svg),
    {NULL, NULL, NULL, NULL},
};
