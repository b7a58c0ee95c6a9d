// What a dashboard's JSON may be, of Grafana's own types: t/098-grafana.t puts
// docs/grafana-dashboard.json behind it, as literals, and has tsc look at it.

import type { Dashboard, FieldConfig, Panel, VariableModel }
    from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import type * as units from '@grafana/grafana-foundation-sdk/units';

// in JSON an enum is what it stands for, and there are no functions

type Data<T> = { [K in keyof T as T[K] extends Function ? never : K]:
                 Json<T[K]> };

type Json<T> = T extends string ? `${T}`
             : T extends number ? (`${T}` extends `${infer N extends number}`
                                   ? N : never)
             : T extends object ? (T extends readonly (infer E)[] ? Json<E>[]
                                                                  : Data<T>)
             : T;

// what is left out Grafana takes from its defaults

type Some<T> = T extends readonly unknown[] ? T
             : T extends object ? { [K in keyof T]?: Some<T[K]> }
             : T;

type Need<T, K extends keyof T> = T & Required<Pick<T, K>>;

type Unit = (typeof units)[keyof typeof units];

type Fields<Custom> =
    Omit<Json<FieldConfig>, 'custom' | 'unit'>
    & { unit: Unit, custom?: Some<Json<Custom>> };

type Of<Type, Options, Custom> =
    Need<Omit<Json<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'>,
         'id' | 'title' | 'gridPos' | 'datasource'>
    & { type: Type,
        options?: Some<Json<Options>>,
        fieldConfig: { defaults: Fields<Custom>, overrides: never[] },
        targets: Need<Json<Dataquery>, 'refId'>[] };

export type StatPanel = Of<'stat', Stat.Options, {}>;
export type TimeSeriesPanel = Of<'timeseries', TimeSeries.Options,
                                 TimeSeries.FieldConfig>;
export type Variable = Json<VariableModel>;
export type Frame = Need<Omit<Json<Dashboard>, 'panels' | 'templating'>,
                         'title' | 'uid'>;
