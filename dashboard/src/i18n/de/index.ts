/** German: the files of `../en/` with other words. */

import type { Messages } from '..'
import { access } from './access'
import { bulk } from './bulk'
import { common } from './common'
import { errors } from './errors'
import { fleet } from './fleet'
import { login } from './login'
import { shell } from './shell'
import { table } from './table'
import { time } from './time'

export const de: Messages = { access, bulk, common, errors, fleet, login, shell, table, time }
